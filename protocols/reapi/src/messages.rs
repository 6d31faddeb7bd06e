//! The messages that carry blobs, by hand: with `Bytes`, decoding takes a slice of what arrived instead of a
//! copy. Field numbers are those of remote_execution.proto and bytestream.proto.

use bazel_remote_apis::build::bazel::remote::execution::v2::Digest;
use bazel_remote_apis::google::rpc::Status;
use bytes::Bytes;
use prost::Message;

/// `google.bytestream.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WriteRequest {
    #[prost(string, tag = "1")]
    pub(crate) resource_name: String,
    #[prost(int64, tag = "2")]
    pub(crate) write_offset: i64,
    #[prost(bool, tag = "3")]
    pub(crate) finish_write: bool,
    #[prost(bytes = "bytes", tag = "10")]
    pub(crate) data: Bytes,
}

/// `BatchUpdateBlobsRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchUpdateBlobsRequest {
    #[prost(string, tag = "1")]
    pub(crate) instance_name: String,
    #[prost(message, repeated, tag = "2")]
    pub(crate) requests: Vec<Update>,
    #[prost(int32, tag = "5")]
    pub(crate) digest_function: i32,
}

/// `BatchUpdateBlobsRequest.Request`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Update {
    #[prost(message, optional, tag = "1")]
    pub(crate) digest: Option<Digest>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
    #[prost(int32, tag = "3")]
    pub(crate) compressor: i32,
}

/// `BatchReadBlobsResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct BatchReadBlobsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(crate) responses: Vec<Piece>,
}

/// `BatchReadBlobsResponse.Response`; never compressed.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Piece {
    #[prost(message, optional, tag = "1")]
    pub(crate) digest: Option<Digest>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) data: Bytes,
    #[prost(message, optional, tag = "3")]
    pub(crate) status: Option<Status>,
}

/// `GetTreeResponse`, with the Directory messages as they were stored: on the wire they are the same.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct GetTreeResponse {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) directories: Vec<Bytes>,
    #[prost(string, tag = "2")]
    pub(crate) next_page_token: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
    use bazel_remote_apis::google::bytestream;

    /// Encodes as one type, decodes as the other.
    fn turned<T: Message + Default>(message: &impl Message) -> T {
        T::decode(&*message.encode_to_vec()).unwrap()
    }

    #[test]
    fn they_are_the_generated_ones_on_the_wire() {
        let write = bytestream::WriteRequest {
            resource_name: "n".into(),
            write_offset: 7,
            finish_write: true,
            data: b"abc".to_vec(),
        };
        assert_eq!(turned::<bytestream::WriteRequest>(&turned::<WriteRequest>(&write)), write);

        let digest = Some(Digest { hash: "h".into(), size_bytes: 3 });
        let update = re::BatchUpdateBlobsRequest {
            instance_name: "i".into(),
            requests: vec![re::batch_update_blobs_request::Request {
                digest: digest.clone(),
                data: b"abc".to_vec(),
                compressor: 1,
            }],
            digest_function: 1,
        };
        assert_eq!(turned::<re::BatchUpdateBlobsRequest>(&turned::<BatchUpdateBlobsRequest>(&update)), update);

        let status = Some(Status { code: 5, message: "no".into(), details: vec![] });
        let read = re::BatchReadBlobsResponse {
            responses: vec![re::batch_read_blobs_response::Response {
                digest,
                data: b"abc".to_vec(),
                status,
                compressor: 0,
            }],
        };
        assert_eq!(turned::<re::BatchReadBlobsResponse>(&turned::<BatchReadBlobsResponse>(&read)), read);

        let symlinks = vec![re::SymlinkNode { name: "l".into(), ..Default::default() }];
        let directories = vec![re::Directory { symlinks, ..Default::default() }, re::Directory::default()];
        let tree = re::GetTreeResponse { directories, next_page_token: "2".into() };
        assert_eq!(turned::<re::GetTreeResponse>(&turned::<GetTreeResponse>(&tree)), tree);
    }
}
