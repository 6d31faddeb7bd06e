//! ByteStream.Read.

use bazel_remote_apis::google::bytestream::ReadRequest;
use kernel::Rights;
use model::{Error, Span};

use crate::bytestream::frames::Frames;
use crate::call::Call;
use crate::resource::Resource;
use crate::speak::Answer;

/// `Read`. A limit beyond the end is fine, an offset beyond it is not.
pub(crate) async fn read(call: Call, request: ReadRequest) -> Answer<Frames> {
    let resource = Resource::to_read(&request.resource_name)?;
    let namespace = call.enter(resource.instance, Rights::DIGEST)?;
    let offset = u64::try_from(request.read_offset).map_err(|_| Error::out_of_range("the offset is negative"))?;
    let limit = match u64::try_from(request.read_limit) {
        Ok(0) => None,
        Ok(limit) => Some(limit),
        Err(_) => return Err(Error::malformed("the limit is negative").into()),
    };
    let not_here = || Error::absent(format!("blob {} is not here", request.resource_name));
    let asked = resource.blob().ok_or_else(not_here)?;
    let (blob, body) = namespace.read(asked.digest, offset, limit).await?;
    if blob.size != asked.size {
        return Err(not_here().into());
    }
    Ok(Frames::new(body, Span::within(blob.size, offset, limit)?.len))
}
