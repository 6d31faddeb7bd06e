//! What this server can do, told to each caller as far as it is true for it.

use bazel_remote_apis::build::bazel::remote::execution::v2::{
    ActionCacheUpdateCapabilities, CacheCapabilities, GetCapabilitiesRequest, ServerCapabilities, digest_function,
    symlink_absolute_path_strategy,
};
use bazel_remote_apis::build::bazel::semver::SemVer;
use kernel::Rights;

use crate::call::Call;
use crate::speak::Answer;

/// `GetCapabilities`.
pub(crate) async fn get(call: Call, request: GetCapabilitiesRequest) -> Answer<ServerCapabilities> {
    call.enter(&request.instance_name, Rights::READ)?;
    let writes = call.enter(&request.instance_name, Rights::WRITE).is_ok();
    let cache = CacheCapabilities {
        digest_functions: vec![digest_function::Value::Sha256.into()],
        action_cache_update_capabilities: Some(ActionCacheUpdateCapabilities {
            update_enabled: writes && !call.settings.index_only,
        }),
        max_batch_total_size_bytes: i64::try_from(call.settings.batch).unwrap_or(i64::MAX),
        symlink_absolute_path_strategy: symlink_absolute_path_strategy::Value::Allowed.into(),
        ..CacheCapabilities::default()
    };
    Ok(ServerCapabilities {
        cache_capabilities: Some(cache),
        execution_capabilities: None,
        deprecated_api_version: Some(version(0)),
        // Bazel up to 5 speaks exactly 2.0 and refuses a server that does not go down to it.
        low_api_version: Some(version(0)),
        high_api_version: Some(version(3)),
    })
}

fn version(minor: i32) -> SemVer {
    SemVer { major: 2, minor, ..SemVer::default() }
}
