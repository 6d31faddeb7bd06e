//! An image as inspection shows it (Wave, section 3.10): in lower camel case, not in the registry's own spelling.

use std::collections::BTreeMap;

use model::{Error, Result};
use serde::{Deserialize, Serialize};

/// The answer to an inspection: one of the two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum InspectAnswer {
    /// An image for several platforms, when none was asked for.
    Index(IndexShown),
    /// One image.
    Container(Box<ContainerShown>),
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IndexShown {
    /// 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u64>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its manifests.
    pub manifests: Vec<EntryShown>,
    /// Its digest.
    #[serde(skip_deserializing)]
    pub digest: String,
}

/// A descriptor, in an index or a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EntryShown {
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Which bytes.
    pub digest: String,
    /// How many.
    pub size: u64,
    /// Its annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Which machine it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformShown>,
}

/// A platform.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlatformShown {
    /// The processor.
    pub architecture: String,
    /// The system.
    pub os: String,
    /// The processor's variant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerShown {
    /// The registry's name.
    pub registry: String,
    /// The registry's address, such as `https://registry-1.docker.io`.
    pub host_name: String,
    /// The repository.
    pub image_name: String,
    /// The tag or digest that was asked for.
    pub reference: String,
    /// The digest of its manifest.
    pub digest: String,
    /// Its configuration.
    pub config: ConfigShown,
    /// Its manifest.
    pub manifest: ManifestShown,
    /// Docker's schema 1.
    pub v1: bool,
    /// Schema 2, Docker's or OCI's.
    pub v2: bool,
    /// An OCI manifest.
    pub oci: bool,
}

/// A configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigShown {
    /// The processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    /// What a container runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<RunShown>,
    /// The container that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<RootShown>,
}

/// What a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all(serialize = "camelCase", deserialize = "PascalCase"), default)]
pub struct RunShown {
    /// The host's name.
    #[serde(rename(serialize = "hostName", deserialize = "Hostname"), skip_serializing_if = "Option::is_none")]
    pub host_name: Option<String>,
    /// The domain's name.
    #[serde(rename(serialize = "domainName", deserialize = "Domainname"), skip_serializing_if = "Option::is_none")]
    pub domain_name: Option<String>,
    /// The user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether input is attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach_stdin: Option<bool>,
    /// Whether output is attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach_stdout: Option<bool>,
    /// Whether errors are attached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attach_stderr: Option<bool>,
    /// Whether it has a terminal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tty: Option<bool>,
    /// Whether input stays open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_stdin: Option<bool>,
    /// Whether input closes once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stdin_once: Option<bool>,
    /// The environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The image that it was made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The entry point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// The labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// The layers of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootShown {
    /// `layers`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The digests of the tars.
    pub diff_ids: Vec<String>,
}

/// A manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManifestShown {
    /// 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u64>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<EntryShown>,
    /// Its layers.
    pub layers: Vec<EntryShown>,
    /// Its annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<BTreeMap<String, String>>,
    /// What it was made as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8], what: &str) -> Result<T> {
    if bytes.len() as u64 > image::LIMIT {
        return Err(Error::too_big(format!("{what} may have at most {} bytes", image::LIMIT)));
    }
    serde_json::from_slice(bytes).map_err(|cause| Error::malformed(format!("{what} is not understood: {cause}")))
}

/// A configuration as it is shown.
///
/// # Errors
/// `Malformed` and `TooBig`.
pub fn shown_config(bytes: &[u8]) -> Result<ConfigShown> {
    read(bytes, "the image's configuration")
}

/// A manifest as it is shown.
///
/// # Errors
/// `Malformed` and `TooBig`.
pub fn shown_manifest(bytes: &[u8]) -> Result<ManifestShown> {
    read(bytes, "the image's manifest")
}

/// An index as it is shown, under the digest that its bytes have.
///
/// # Errors
/// `Malformed` and `TooBig`.
pub fn shown_index(bytes: &[u8], digest: &image::ContentDigest) -> Result<IndexShown> {
    let index: IndexShown = read(bytes, "the image's index")?;
    Ok(IndexShown { digest: digest.to_string(), ..index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_lower_camel() {
        let config = shown_config(
            br#"{"architecture":"amd64","config":{"Hostname":"h","Domainname":"","AttachStdin":false,"Tty":true,"Env":["A=b"],
            "Entrypoint":null,"WorkingDir":"/w","Labels":{"k":"v"},"OnBuild":null},"rootfs":{"type":"layers","diff_ids":["d"]},"history":[]}"#,
        )
        .expect("a configuration");
        assert_eq!(
            serde_json::to_string(&config).expect("JSON"),
            r#"{"architecture":"amd64","config":{"hostName":"h","domainName":"","attachStdin":false,"tty":true,"env":["A=b"],"workingDir":"/w","labels":{"k":"v"}},"rootfs":{"type":"layers","diff_ids":["d"]}}"#
        );
        let manifest = shown_manifest(br#"{"schemaVersion":2,"mediaType":"m","config":{"digest":"d","size":1},"layers":[{"mediaType":"l","digest":"e","size":2,"annotations":{"a":"b"}}],"x":1}"#);
        assert_eq!(
            serde_json::to_string(&manifest.expect("a manifest")).expect("JSON"),
            r#"{"schemaVersion":2,"mediaType":"m","config":{"digest":"d","size":1},"layers":[{"mediaType":"l","digest":"e","size":2,"annotations":{"a":"b"}}]}"#
        );
        assert!(shown_manifest(b"[").is_err());
    }

    #[test]
    fn an_index_is_shown_whole() {
        let digest = format!("sha256:{}", "0".repeat(64)).parse().expect("a digest");
        let text = br#"{"schemaVersion":2,"mediaType":"i","manifests":[{"digest":"d","size":1,"platform":{"architecture":"arm","os":"linux","variant":"v7"}}]}"#;
        let answer = InspectAnswer::Index(shown_index(text, &digest).expect("an index"));
        let expected = format!(
            r#"{{"index":{{"schemaVersion":2,"mediaType":"i","manifests":[{{"digest":"d","size":1,"platform":{{"architecture":"arm","os":"linux","variant":"v7"}}}}],"digest":"{digest}"}}}}"#
        );
        assert_eq!(serde_json::to_string(&answer).expect("JSON"), expected);
    }
}
