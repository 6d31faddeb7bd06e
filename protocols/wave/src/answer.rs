//! What clients are answered (Wave, sections 3.4 to 3.9). Null members are left out.

use std::collections::BTreeMap;

use image::Recipe;
use serde::Serialize;

use crate::Seconds;

/// The answer to a submit request. The early clients read `containerToken` and `targetImage` and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SubmitAnswer {
    /// Names the request, for its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The token; absent for a lasting image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_token: Option<String>,
    /// What to pull.
    pub target_image: String,
    /// When the token ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// The image that was asked for, fully written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
    /// The build or copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// True if nothing had to be built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<bool>,
    /// True for a lasting image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<bool>,
    /// True for a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<bool>,
    /// The scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_id: Option<String>,
    /// Ready, failed, or absent while nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<bool>,
}

/// How far a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Nothing has begun.
    Pending,
    /// A build or copy runs.
    Building,
    /// A scan runs.
    Scanning,
    /// It is over.
    Done,
}

/// The progress of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusAnswer {
    /// The request.
    pub id: String,
    /// How far it is.
    pub status: Status,
    /// The build.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// The copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror_id: Option<String>,
    /// The scan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_id: Option<String>,
    /// What a scan found, by severity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vulnerabilities: Option<BTreeMap<String, u64>>,
    /// Set when the status is `DONE`, always: clients read it without asking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub succeeded: Option<bool>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where more is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details_uri: Option<String>,
    /// When it was asked for; clients read it without asking.
    pub creation_time: String,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Seconds>,
}

impl StatusAnswer {
    /// A request that needed no build: done at once.
    #[must_use]
    pub fn done(id: String, creation_time: String, duration: Seconds) -> Self {
        Self {
            id,
            status: Status::Done,
            build_id: None,
            mirror_id: None,
            scan_id: None,
            vulnerabilities: None,
            succeeded: Some(true),
            reason: None,
            details_uri: None,
            creation_time,
            duration: Some(duration),
        }
    }
}

/// What is known of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DescribeAnswer {
    /// The token.
    pub token: String,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expiration: Option<String>,
    /// What was asked.
    pub request: Described,
    /// What was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build: Option<BuildShown>,
    /// The image below; its digest is known after the first pull.
    pub source: ImageShown,
    /// The image that is served.
    pub wave: ImageShown,
}

/// A request as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Described {
    /// Who asked; never the name or the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<UserShown>,
    /// The workspace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workspace_id: Option<i64>,
    /// The image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_image: Option<String>,
    /// What is added; see [`Described::config`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_config: Option<Recipe>,
    /// For which machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The Platform that knew the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tower_endpoint: Option<String>,
    /// The client's digest of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// When it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// The client's time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_id: Option<String>,
    /// Where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address: Option<String>,
}

impl Described {
    /// A recipe as it may be shown: the bytes of layers that came in the request are left out.
    #[must_use]
    pub fn config(recipe: &Recipe) -> Recipe {
        let mut shown = recipe.clone();
        for layer in &mut shown.layers {
            for scheme in ["data:", "gzip:"] {
                if layer.location.starts_with(scheme) {
                    layer.location = format!("{scheme}DATA+OMITTED");
                }
            }
        }
        shown
    }
}

/// A user as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct UserShown {
    /// Its number.
    pub id: i64,
}

/// A build as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildShown {
    /// The container file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_file: Option<String>,
    /// The Conda environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conda_file: Option<String>,
    /// Where the image goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_repository: Option<String>,
    /// Where its layers are cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_repository: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// True if this request began it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_new: Option<bool>,
    /// True for a lasting image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze: Option<bool>,
}

/// An image as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageShown {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its digest, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfoAnswer {
    /// The one member.
    pub service_info: ServiceInfo,
}

/// The version that clients compare with the ones that they know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceInfo {
    /// A semantic version; the command line client warns of what is below 1.31.0.
    pub version: String,
    /// The commit.
    pub commit_id: String,
}

/// An error of the interfaces (not of the registry).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiError {
    /// What was wrong and what to do.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn text(answer: &impl Serialize) -> String {
        serde_json::to_string(answer).expect("JSON")
    }

    /// Wave, section 3.4.
    #[test]
    fn answers_are_as_clients_read_them() {
        let answer = SubmitAnswer {
            request_id: Some("a1b2c3d4e5f6".into()),
            container_token: Some("a1b2c3d4e5f6".into()),
            target_image: "wave.example.com/wt/a1b2c3d4e5f6/library/busybox:latest".into(),
            expiration: Some("2026-01-02T12:00:00.000Z".into()),
            container_image: Some("docker.io/library/busybox:latest".into()),
            freeze: Some(false),
            mirror: Some(false),
            succeeded: Some(true),
            ..SubmitAnswer::default()
        };
        assert_eq!(
            text(&answer),
            r#"{"requestId":"a1b2c3d4e5f6","containerToken":"a1b2c3d4e5f6","targetImage":"wave.example.com/wt/a1b2c3d4e5f6/library/busybox:latest","expiration":"2026-01-02T12:00:00.000Z","containerImage":"docker.io/library/busybox:latest","freeze":false,"mirror":false,"succeeded":true}"#
        );
        let early = SubmitAnswer {
            container_token: Some("bbc389039bf0".into()),
            target_image: "h/wt/bbc389039bf0/nextflow/bash:latest".into(),
            ..SubmitAnswer::default()
        };
        assert_eq!(
            text(&early),
            r#"{"containerToken":"bbc389039bf0","targetImage":"h/wt/bbc389039bf0/nextflow/bash:latest"}"#
        );
    }

    #[test]
    fn a_status_has_what_clients_need() {
        let done = StatusAnswer::done("t".into(), "2026-01-02T12:00:00.000Z".into(), Seconds(Duration::from_secs(5)));
        assert_eq!(
            text(&done),
            r#"{"id":"t","status":"DONE","succeeded":true,"creationTime":"2026-01-02T12:00:00.000Z","duration":5.000000000}"#
        );
    }

    #[test]
    fn nothing_private_is_described() {
        let recipe: Recipe = serde_json::from_str(r#"{"layers":[{"location":"data:QUJD"},{"location":"https://x"}]}"#)
            .expect("a recipe");
        let request = Described {
            user: Some(UserShown { id: 1 }),
            container_config: Some(Described::config(&recipe)),
            ..Described::default()
        };
        let answer = text(&DescribeAnswer { token: "t".into(), request, ..DescribeAnswer::default() });
        assert!(answer.contains(r#""user":{"id":1}"#) && answer.contains("data:DATA+OMITTED"), "{answer}");
        assert!(answer.contains("https://x") && !answer.contains("QUJD") && !answer.contains("null"), "{answer}");
    }

    #[test]
    fn small_answers() {
        let service_info = ServiceInfo { version: "1.37.0".into(), commit_id: "abcdef0".into() };
        let info = text(&ServiceInfoAnswer { service_info });
        assert_eq!(info, r#"{"serviceInfo":{"version":"1.37.0","commitId":"abcdef0"}}"#);
        assert_eq!(text(&ApiError { message: "m".into() }), r#"{"message":"m"}"#);
    }
}
