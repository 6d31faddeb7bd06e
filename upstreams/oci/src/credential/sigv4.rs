//! AWS Signature Version 4, for requests without a query.
//!
//! The crates for it bring credential chains and an HTTP layer of their own; this is the part that one POST needs, on
//! the HMAC that is linked anyway, and is held to the published test vectors.

use std::fmt::Write;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign as hmac};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// What is signed.
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    /// Lower-case names, in the order of their names.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a [u8],
    /// `YYYYMMDDTHHMMSSZ`; it is also among the headers.
    pub(super) date: &'a str,
    pub(super) region: &'a str,
    pub(super) service: &'a str,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The value of `Authorization`.
pub(super) fn sign(request: &Request<'_>, id: &str, secret: &Secret) -> String {
    let Request { method, path, headers, body, date, region, service } = request;
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let canonical = format!("{method}\n{path}\n\n{lines}\n{names}\n{}", hex(&Sha256::digest(body)));
    let day = date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let first = format!("AWS4{}", secret.expose()).into_bytes();
    let key = [day, region, service, "aws4_request"]
        .iter()
        .fold(first, |key, part| hmac(&Key::new(HMAC_SHA256, &key), part.as_bytes()).as_ref().to_vec());
    let signature = hex(hmac(&Key::new(HMAC_SHA256, &key), text.as_bytes()).as_ref());
    format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `get-vanilla` and `post-vanilla` of AWS's published test suite.
    #[test]
    fn the_published_vectors_hold() {
        for (method, signature) in [
            ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
            ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ] {
            let date = "20150830T123600Z";
            let headers = [("host", "example.amazonaws.com"), ("x-amz-date", date)];
            let (region, service) = ("us-east-1", "service");
            let request = Request { method, path: "/", headers: &headers, body: b"", date, region, service };
            let signed = sign(&request, "AKIDEXAMPLE", &Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"));
            let wanted = format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            );
            assert_eq!(signed, wanted);
        }
    }
}
