//! What clients ask: the submit request of both versions, credentials, inspection.

use image::{ExtraLayer, Recipe};
use serde::{Deserialize, Serialize};

/// Which interface was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `POST /container-token`, since 2022.
    One,
    /// `POST /v1alpha2/container`, since April 2024.
    Two,
}

/// A request for an image: to augment, to build, to copy. Members that are not known are ignored; null is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SubmitRequest {
    /// Who asks; without it, nobody in particular.
    pub tower_access_token: Option<String>,
    /// Renews the access token.
    pub tower_refresh_token: Option<String>,
    /// The Platform that knows the token.
    pub tower_endpoint: Option<String>,
    /// The workspace whose credentials and space are meant.
    pub tower_workspace_id: Option<i64>,
    /// The run whose end ends the token.
    pub workflow_id: Option<String>,
    /// The image.
    pub container_image: Option<String>,
    /// A container file in base64, to build.
    pub container_file: Option<String>,
    /// What to add.
    pub container_config: Option<Recipe>,
    /// A Conda environment in base64; version 1 only.
    pub conda_file: Option<String>,
    /// For which machine; `linux/amd64` where nothing is said.
    pub container_platform: Option<String>,
    /// Where a built or copied image goes.
    pub build_repository: Option<String>,
    /// Where a build caches its layers.
    pub cache_repository: Option<String>,
    /// The client's clock, for its offset.
    pub timestamp: Option<String>,
    /// The client's own digest of the request; it is kept and never read.
    pub fingerprint: Option<String>,
    /// Make a lasting image.
    pub freeze: Option<bool>,
    /// Files for a build.
    pub build_context: Option<ExtraLayer>,
    /// `sif` for Singularity.
    pub format: Option<String>,
    /// Say what would be done.
    pub dry_run: Option<bool>,
    /// Images whose layers are added.
    pub container_includes: Option<Vec<String>>,
    /// Packages to build an image of; version 2 only.
    pub packages: Option<Packages>,
    /// `none`, `tagPrefix` or `imageSuffix`; version 2 only.
    pub name_strategy: Option<String>,
    /// Copy the image; version 2 only.
    pub mirror: Option<bool>,
    /// `none`, `async` or `required`.
    pub scan_mode: Option<String>,
    /// Which severities a scan may find.
    pub scan_levels: Option<Vec<String>>,
}

/// Packages of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Packages {
    /// `CONDA` or `CRAN`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// An environment file in base64; either this or `entries`.
    pub environment: Option<String>,
    /// Package specifications.
    pub entries: Option<Vec<String>>,
    /// Where packages come from.
    pub channels: Option<Vec<String>>,
}

/// Credentials to check against their registry.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CredentialsRequest {
    /// The user.
    pub user_name: Option<String>,
    /// The password or token.
    pub password: Option<String>,
    /// The registry's host.
    pub registry: Option<String>,
}

/// A password does not get into logs.
impl std::fmt::Debug for CredentialsRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CredentialsRequest")
            .field("user_name", &self.user_name)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl CredentialsRequest {
    /// User, password and registry, none of them blank.
    ///
    /// # Errors
    /// `Malformed`; the text begins with the field that is missing.
    pub fn check(&self) -> model::Result<(&str, &str, &str)> {
        Ok((
            filled("userName", self.user_name.as_deref())?,
            filled("password", self.password.as_deref())?,
            filled("registry", self.registry.as_deref())?,
        ))
    }
}

fn filled<'a>(field: &str, text: Option<&'a str>) -> model::Result<&'a str> {
    let text = text.filter(|text| !text.trim().is_empty());
    text.ok_or_else(|| {
        model::Error::malformed(format!("{field}: it is missing, and credentials cannot be checked without"))
    })
}

/// An image to look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InspectRequest {
    /// The image.
    pub container_image: Option<String>,
    /// Who asks.
    pub tower_access_token: Option<String>,
    /// The Platform that knows the token.
    pub tower_endpoint: Option<String>,
    /// The workspace whose credentials are meant.
    pub tower_workspace_id: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first payload of Wave's first documentation, as written there.
    #[test]
    fn the_short_payload_is_read() {
        let read: SubmitRequest = serde_json::from_str(
            r#"{"containerImage":"quay.io/nextflow/bash:latest", "towerAccessToken":"eyJ0aWQiOiAxfS40ZGE4ZDBmMTQ3YzliMWJkOGVkMDNlYjY1ZWRiZmU1OWQxZjEyZGU3", "towerWorkspaceId": null}"#,
        )
        .expect("a request");
        assert_eq!(read.container_image.as_deref(), Some("quay.io/nextflow/bash:latest"));
        assert!(read.tower_access_token.is_some_and(|token| token.starts_with("eyJ0aWQi")));
        assert_eq!((read.tower_workspace_id, read.container_config), (None, None));
    }

    /// The second one: a layer to add.
    #[test]
    fn the_payload_with_a_layer_is_read() {
        let read: SubmitRequest = serde_json::from_str(
            r#"{
  "containerImage":"quay.io/nextflow/bash:latest",
  "containerConfig": {
    "layers": [
      {
        "location": "https://s3.eu-west-1.amazonaws.com/nf-tower.dev/wave-layer.tar.gzip",
        "gzipDigest": "sha256:e9d6f29eecde29c12f0d32a1bc81aa9f4fcb76f8d813b8f1a37e8af5ee6b7657",
        "gzipSize": 13219265,
        "tarDigest": "sha256:2648cf125a9a4c4c5c9a2d3799b3a57983b5297442d7995746273c615bc4e316"
      }
    ]
  }
}
"#,
        )
        .expect("a request");
        let recipe = read.container_config.expect("a recipe");
        recipe.check().expect("it can be applied");
        assert_eq!(recipe.layers[0].blob().expect("a blob").size, 13_219_265);
    }

    #[test]
    fn unknown_members_are_ignored_and_wrong_ones_named() {
        let read: SubmitRequest =
            serde_json::from_str(r#"{"spackFile":"x","new":{},"freeze":null}"#).expect("a request");
        assert_eq!(read, SubmitRequest::default());
        let error = serde_json::from_str::<SubmitRequest>(r#"{"towerWorkspaceId":"x"}"#).expect_err("no number");
        assert!(error.to_string().contains("i64"), "{error}");
    }

    #[test]
    fn credentials_have_all_three_parts() {
        let read = |text: &str| serde_json::from_str::<CredentialsRequest>(text).expect("a request");
        let right = read(r#"{"userName":"<USERNAME>", "password":"PASSWORD", "registry": "docker.io"}"#);
        assert_eq!(right.check().expect("all three"), ("<USERNAME>", "PASSWORD", "docker.io"));
        assert!(!format!("{right:?}").contains("PASSWORD"));
        for (text, field) in [
            (r#"{"password":"p","registry":"r"}"#, "userName"),
            (r#"{"userName":"u","password":" ","registry":"r"}"#, "password"),
            (r#"{"userName":"u","password":"p","registry":null}"#, "registry"),
        ] {
            assert!(read(text).check().expect_err(text).text().starts_with(field), "{text}");
        }
    }
}
