//! `layer.json`: a recipe in a file, with its layers beside it.
//!
//! Two forms are read. Since August 2022 it is a recipe: `layers` is a list. Before, one layer stood under `append`. A
//! location that is no URL is a file, relative to the document's own directory.

use std::path::{Path, PathBuf};

use model::{Error, Result};
use serde::{Deserialize, Serialize};

use crate::{ExtraLayer, Recipe};

/// Most bytes of such a document.
const LIMIT: usize = 1 << 20;

/// The recipe of a `layer.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerFile {
    /// What it says, in the present form.
    pub recipe: Recipe,
}

#[derive(Deserialize)]
struct Written {
    #[serde(flatten)]
    recipe: Recipe,
    #[serde(default)]
    append: Option<ExtraLayer>,
}

/// What is written: nulls are there, as the first packer wrote them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Form<'a> {
    entrypoint: Option<&'a [String]>,
    cmd: Option<&'a [String]>,
    env: Option<&'a [String]>,
    working_dir: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<&'a std::collections::BTreeMap<String, String>>,
    layers: &'a [ExtraLayer],
}

impl LayerFile {
    /// Reads either form.
    ///
    /// # Errors
    /// `Malformed` and `TooBig`; the text begins with the field that is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > LIMIT {
            return Err(Error::too_big(format!("layer.json may have at most {LIMIT} bytes")));
        }
        let Written { mut recipe, append } = serde_json::from_slice(bytes)
            .map_err(|cause| Error::malformed(format!("layer.json is not understood: {cause}")))?;
        match append {
            Some(_) if !recipe.layers.is_empty() => {
                return Err(Error::malformed("append: the early form has no layers beside it: leave one of them out"));
            }
            Some(layer) => recipe.layers.push(layer),
            None => {}
        }
        recipe.check()?;
        Ok(Self { recipe })
    }

    /// The document, in the present form.
    ///
    /// # Errors
    /// `Broken` never in practice: a recipe can always be written.
    pub fn write(&self) -> Result<String> {
        let recipe = &self.recipe;
        let form = Form {
            entrypoint: some(&recipe.entrypoint),
            cmd: some(&recipe.cmd),
            env: some(&recipe.env),
            working_dir: recipe.working_dir.as_deref().filter(|directory| !directory.is_empty()),
            labels: Some(&recipe.labels).filter(|labels| !labels.is_empty()),
            layers: &recipe.layers,
        };
        let text = serde_json::to_string_pretty(&form);
        text.map(|text| text + "\n").map_err(|cause| Error::broken("layer.json cannot be written").because(cause))
    }

    /// Where the layers are that are files: their paths, for a document in this directory; in the recipe's order.
    pub fn files(&self, directory: &Path) -> impl Iterator<Item = (&ExtraLayer, PathBuf)> {
        let is_url = |location: &str| {
            ["http://", "https://", "docker://", "data:", "gzip:"].iter().any(|scheme| location.starts_with(scheme))
        };
        let directory = directory.to_owned();
        let files = self.recipe.layers.iter().filter(move |layer| !is_url(&layer.location));
        files.map(move |layer| (layer, directory.join(&layer.location)))
    }
}

/// An empty list is written as null.
fn some(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(location: &str) -> String {
        let (packed, tar) = ("1".repeat(64), "2".repeat(64));
        format!(r#"{{"location":"{location}","gzipDigest":"sha256:{packed}","gzipSize":7,"tarDigest":"sha256:{tar}"}}"#)
    }

    #[test]
    fn both_forms_are_one_recipe() {
        let rest = r#""entrypoint":["/opt/fusion/entry.sh"],"cmd":null,"env":["FOO=bar"],"workingDir":null"#;
        let early = format!("{{{rest},\"append\":{}}}", layer("layer.tar.gzip"));
        let present = format!("{{{rest},\"layers\":[{}]}}", layer("layer.tar.gzip"));
        let read = LayerFile::read(early.as_bytes()).expect("the early form");
        assert_eq!(LayerFile::read(present.as_bytes()).expect("the present form"), read);
        let written = read.write().expect("text");
        assert_eq!(written.split_whitespace().collect::<String>(), present);
        assert_eq!(LayerFile::read(written.as_bytes()).expect("what was written"), read);
        assert_eq!(read.recipe.fingerprint(), LayerFile::read(written.as_bytes()).expect("again").recipe.fingerprint());
    }

    #[test]
    fn files_lie_beside_the_document() {
        let text = format!("{{\"layers\":[{},{},{}]}}", layer("a.gz"), layer("https://x/b"), layer("/srv/c.gz"));
        let read = LayerFile::read(text.as_bytes()).expect("a recipe");
        let files: Vec<_> = read.files(Path::new("/pack/layers")).map(|(_, path)| path).collect();
        assert_eq!(files, [Path::new("/pack/layers/a.gz"), Path::new("/srv/c.gz")]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let both = format!("{{\"append\":{0},\"layers\":[{0}]}}", layer("a"));
        for (text, field) in [
            (both.as_str(), "append"),
            ("{\"env\":[\"x\"]}", "env[0]"),
            ("{\"layers\":[{}]}", "layers[0].location"),
            ("[]", "layer.json"),
            ("{\"workingDir\":\"x\"}", "workingDir"),
        ] {
            let error = LayerFile::read(text.as_bytes()).expect_err(text);
            assert!(error.text().starts_with(field), "{text}: {error}");
        }
    }
}
