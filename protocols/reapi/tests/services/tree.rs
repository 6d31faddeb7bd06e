//! GetTree.

use bazel_remote_apis::build::bazel::remote::execution::v2::{
    Digest, Directory, DirectoryNode, GetTreeRequest, GetTreeResponse, SymlinkNode,
};
use prost::Message;
use tonic::Code;

use crate::rig::{Rig, digest};

async fn get(rig: &Rig, request: GetTreeRequest) -> Result<Vec<GetTreeResponse>, Code> {
    let mut pages = rig.cas().get_tree(request).await.map_err(|status| status.code())?.into_inner();
    let mut all = Vec::new();
    while let Some(page) = pages.message().await.map_err(|status| status.code())? {
        all.push(page);
    }
    Ok(all)
}

fn asked(root: &Digest) -> GetTreeRequest {
    GetTreeRequest { root_digest: Some(root.clone()), ..Default::default() }
}

/// Stores a directory with these children and a symlink that makes it one of a kind.
async fn directory(rig: &Rig, name: &str, children: &[&Digest]) -> Digest {
    let node = |(n, digest): (usize, &&Digest)| DirectoryNode { name: n.to_string(), digest: Some((*digest).clone()) };
    let directories = children.iter().enumerate().map(node).collect();
    let symlinks = vec![SymlinkNode { name: name.into(), ..Default::default() }];
    rig.put(&Directory { directories, symlinks, ..Default::default() }.encode_to_vec()).await
}

/// The names that tell which directories these are.
fn names(pages: &[GetTreeResponse]) -> Vec<String> {
    let directories = pages.iter().flat_map(|page| &page.directories);
    directories.map(|directory| directory.symlinks.first().map(|link| link.name.clone()).unwrap_or_default()).collect()
}

#[tokio::test]
async fn each_directory_comes_once() {
    let rig = Rig::new().await;
    let d = directory(&rig, "d", &[]).await;
    let (b, c) = (directory(&rig, "b", &[&d]).await, directory(&rig, "c", &[&d, &digest(b"missing")]).await);
    let a = directory(&rig, "a", &[&b, &c, &b]).await;
    let whole = get(&rig, asked(&a)).await.unwrap();
    assert_eq!((names(&whole), whole.len()), (vec!["a".into(), "b".into(), "c".into(), "d".into()], 1));
    assert_eq!(whole[0].next_page_token, "");

    let pages = get(&rig, GetTreeRequest { page_size: 1, ..asked(&a) }).await.unwrap();
    assert_eq!(names(&pages), names(&whole));
    for (n, page) in pages.iter().enumerate() {
        assert!(page.directories.len() <= 1);
        assert_eq!(page.next_page_token.is_empty(), n == pages.len() - 1, "page {n}");
        if !page.next_page_token.is_empty() {
            let rest = GetTreeRequest { page_token: page.next_page_token.clone(), page_size: 2, ..asked(&a) };
            assert_eq!(names(&get(&rig, rest).await.unwrap()), names(&pages[n + 1..]), "after page {n}");
        }
    }
}

#[tokio::test]
async fn pages_fit_what_clients_take() {
    let rig = Rig::new().await;
    let long = "x".repeat(1_500_000);
    let mut children = Vec::new();
    for n in 0..4 {
        children.push(directory(&rig, &format!("{n}{long}"), &[]).await);
    }
    let root = directory(&rig, "root", &children.iter().collect::<Vec<_>>()).await;
    let pages = get(&rig, asked(&root)).await.unwrap();
    assert_eq!((pages.len(), names(&pages).len()), (4, 5));
    assert!(pages.iter().all(|page| page.encoded_len() < 4 << 20));
}

#[tokio::test]
async fn a_root_must_be_a_directory() {
    let rig = Rig::new().await;
    assert_eq!(get(&rig, asked(&digest(b"missing"))).await, Err(Code::NotFound));
    let text = rig.put(b"this is no Directory").await;
    assert_eq!(get(&rig, asked(&text)).await, Err(Code::NotFound));
    let empty = get(&rig, asked(&digest(b""))).await.unwrap();
    assert_eq!(empty, [GetTreeResponse { directories: vec![Directory::default()], ..Default::default() }]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let rig = Rig::new().await;
    let root = directory(&rig, "a", &[]).await;
    for request in [
        GetTreeRequest { page_token: "x".into(), ..asked(&root) },
        GetTreeRequest { page_token: "7".into(), ..asked(&root) },
        GetTreeRequest { page_size: -1, ..asked(&root) },
        GetTreeRequest { root_digest: None, ..asked(&root) },
        GetTreeRequest { digest_function: 2, ..asked(&root) },
        GetTreeRequest { instance_name: "x".into(), ..asked(&root) },
    ] {
        assert_eq!(get(&rig, request).await, Err(Code::InvalidArgument));
    }
}
