//! Passes: a signed word of ours that its bearer is somebody, with some of that one's rights, for some minutes.
//!
//! Registry clients trade their password for one and show it with each request. It is checked without a look at the
//! catalog; that is why it cannot be revoked and must be short.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use model::{Error, Result, Time};
use sha2::Sha256;

use crate::hub::Hub;
use crate::rights::{Caller, Grant};

/// What a pass begins with; a token begins otherwise.
const MARK: &str = "entp_";
/// Longest pass: clients send it in a header with each request.
const LONGEST: usize = 6 << 10;

/// True for what looks like a pass.
pub(crate) fn is_pass(secret: &str) -> bool {
    secret.starts_with(MARK)
}

impl Hub {
    /// Makes a pass that says what this caller is, until `until`.
    ///
    /// # Errors
    /// `TooBig` when its grants do not fit: ask for fewer at a time.
    pub fn make_pass(&self, caller: &Caller, until: Time) -> Result<String> {
        // A line is a statement, so nothing that somebody else chose may end one.
        let line = |text: &str| text.replace(char::is_control, "?");
        let flags = (u8::from(caller.known), u8::from(caller.may_login));
        let mut text = format!("{}\n{}{}\n{}", until.0, flags.0, flags.1, line(&caller.who));
        for grant in &*caller.grants {
            text.push('\n');
            text.push_str(&line(&grant.to_string()));
        }
        let text = URL_SAFE_NO_PAD.encode(text);
        let sign = URL_SAFE_NO_PAD.encode(self.sign(&text)?.finalize().into_bytes());
        let pass = format!("{MARK}{text}.{sign}");
        if pass.len() > LONGEST {
            return Err(Error::too_big(
                "a token for so many scopes would not fit into a header: ask for fewer at a time",
            ));
        }
        Ok(pass)
    }

    /// The caller that a pass stands for; `None` when it is not ours, or over.
    pub(crate) fn pass_caller(&self, pass: &str) -> Option<Caller> {
        let (text, sign) = pass.strip_prefix(MARK).filter(|_| pass.len() <= LONGEST)?.split_once('.')?;
        // Compared in constant time.
        self.sign(text).ok()?.verify_slice(&URL_SAFE_NO_PAD.decode(sign).ok()?).ok()?;
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut lines = text.split('\n');
        let until = Time(lines.next()?.parse().ok()?);
        let flags = lines.next()?;
        let who = lines.next()?.into();
        let grants: Vec<Grant> = lines.map(str::parse).collect::<Result<_>>().ok()?;
        let caller =
            Caller { who, known: flags.starts_with('1'), may_login: flags.ends_with('1'), grants: grants.into() };
        (until > Time::now()).then_some(caller)
    }

    fn sign(&self, text: &str) -> Result<Hmac<Sha256>> {
        let key = &self.settings().secret;
        let mut hmac =
            Hmac::<Sha256>::new_from_slice(key).map_err(|cause| Error::broken("sign a pass").because(cause))?;
        hmac.update(text.as_bytes());
        Ok(hmac)
    }
}
