//! The Wave service as data: requests, their validation and answers; it has no routes yet and nothing is wired to it.
//!
//! | wire | here |
//! |---|---|
//! | `POST /container-token`, `POST /v1alpha2/container` | [`SubmitRequest`], [`validate`], [`SubmitAnswer`] |
//! | `GET /v1alpha2/container/{id}/status` | [`StatusAnswer`] |
//! | `GET /container-token/{token}` | [`DescribeAnswer`] |
//! | `POST /validate-creds`, `POST /v1alpha2/validate-creds` | [`CredentialsRequest`]; the answer is a bare `true` or `false` |
//! | `GET /service-info` | [`ServiceInfoAnswer`] |
//! | `POST /v1alpha1/inspect` | [`InspectRequest`], [`InspectAnswer`] |
//!
//! Unknown members of requests are ignored; members that are null are left out of answers; moments are ISO 8601 in UTC
//! with `Z`; durations are numbers of seconds with nine decimals, because clients take a number without a dot for
//! nanoseconds.

mod answer;
mod inspect;
mod moment;
mod request;
mod validate;

pub use answer::{
    ApiError, BuildShown, DescribeAnswer, Described, ImageShown, ServiceInfo, ServiceInfoAnswer, Status, StatusAnswer,
    SubmitAnswer, UserShown,
};
pub use inspect::{
    ConfigShown, ContainerShown, EntryShown, IndexShown, InspectAnswer, ManifestShown, PlatformShown, RootShown,
    RunShown, shown_config, shown_index, shown_manifest,
};
pub use moment::{Seconds, instant};
pub use request::{CredentialsRequest, InspectRequest, Packages, SubmitRequest, Version};
pub use validate::{Asker, Checked, Features, Refusal, Rules, missing_image, validate};
