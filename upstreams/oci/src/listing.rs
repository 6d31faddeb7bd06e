//! The tags of a repository, page by page (distribution specification, end-8).

use http::{Method, header};
use image::is_tag;
use model::{Error, Result};
use reqwest::Url;
use serde::Deserialize;
use tokio::time::timeout;

use crate::failure;
use crate::registry::{Ask, Registry};

/// Most tags of a repository: the largest on Docker Hub have some ten thousand.
const MOST: usize = 100_000;
/// Tags that a page is asked for. Docker Hub gives no more.
const PAGE: &str = "1000";
/// Most pages, for registries that give few at a time.
const PAGES: usize = 1000;
/// Bytes of a page: ten thousand tags of the longest kind.
const LIMIT: u64 = 2 << 20;

#[derive(Deserialize)]
struct Page {
    /// Some say `null` for a repository without tags.
    tags: Option<Vec<String>>,
}

impl Registry {
    /// All tags, in the registry's order; `None` when the repository is not there.
    pub(crate) async fn tags(&self) -> Result<Option<Vec<String>>> {
        let slow = |_| Error::upstream(format!("{} lists the tags of {} too slowly", self.host(), self.path));
        timeout(self.site.pace.document(), self.pages()).await.map_err(slow)?
    }

    async fn pages(&self) -> Result<Option<Vec<String>>> {
        let what = format!("the tags of {}", self.path);
        let mut url = self.url("tags", "list");
        url.query_pairs_mut().append_pair("n", PAGE);
        let mut tags = Vec::new();
        for _ in 0..PAGES {
            let ask = Ask::new(Method::GET, url.clone());
            let Some(document) = self.document(&ask, LIMIT, &what).await? else { return Ok(None) };
            let wrong = |how: &str| failure::wrong(&document.host, &what, how);
            let page: Page = serde_json::from_slice(&document.bytes).map_err(|_| wrong("it is no list of tags"))?;
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|tag| is_tag(tag)));
            if tags.len() > MOST {
                return Err(wrong("there are more than 100000"));
            }
            let Some(link) = document.header(header::LINK.as_str()) else { return Ok(Some(tags)) };
            let next = following(&url, link).ok_or_else(|| wrong("the next page is not at this registry"))?;
            if next == url {
                return Err(wrong("its pages go in a circle"));
            }
            url = next;
        }
        Err(Error::upstream(format!("{} lists {what} in too many pages", self.host())))
    }
}

/// `</v2/…?last=…>; rel="next"`. Only the query is theirs to choose: what we say who we are goes nowhere else.
fn following(url: &Url, link: &str) -> Option<Url> {
    let (target, _) = link.trim().strip_prefix('<')?.split_once('>')?;
    let found = url.join(target).ok()?;
    let mut next = url.clone();
    next.set_query(found.query());
    found.query().is_some().then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_at_their_registry() {
        let url: Url = "https://a.example/v2/x/tags/list?n=1".parse().expect("a URL");
        let next = |link: &str| following(&url, link).map(|url| url.to_string());
        let there = Some("https://a.example/v2/x/tags/list?n=1&last=b".to_owned());
        assert_eq!(next("</v2/x/tags/list?n=1&last=b>; rel=\"next\""), there);
        assert_eq!(next("<https://evil.example/v2/y?n=1&last=b>; rel=\"next\""), there);
        assert_eq!(next("</v2/x/tags/list>"), None);
        assert_eq!(next("nothing"), None);
    }
}
