//! The configuration of an augmented image.

use model::{Error, Result};
use serde::Deserialize;

use super::in_document;
use crate::Platform;
use crate::json::{Object, Raw, raw};
use crate::manifest::Manifest;
use crate::recipe::{ENTRY_CHAIN, Recipe};

/// Who made the layer, as `docker history` shows it.
const CREATED_BY: &str = "entrepot augment";

/// Most variables, and most labels, of an image: each one of a recipe is looked for among them. Real images have some
/// dozens.
const MOST: usize = 10_000;

/// An image's configuration, taken apart as far as a recipe reaches.
pub(super) struct Config {
    document: Object,
    rootfs: Object,
    diff_ids: Vec<String>,
    architecture: String,
    base_layers: usize,
}

/// An entry point is a list; Docker before 1.10 also wrote one text.
#[derive(Deserialize)]
#[serde(untagged)]
enum EntryPoint {
    One(String),
    Many(Vec<String>),
}

/// As much of a history entry as says whether it made a layer.
#[derive(Deserialize)]
struct Step {
    #[serde(default)]
    empty_layer: Option<bool>,
}

impl Config {
    /// Reads what an image's manifest points to.
    pub(super) fn read(bytes: &[u8], manifest: &Manifest, platform: Option<&Platform>) -> Result<Self> {
        let document = Object::read(bytes, "config")?;
        let rootfs: Option<Object> = in_document(document.typed("rootfs", "rootfs"), "config")?;
        let Some(rootfs) = rootfs else {
            return Err(Error::unsupported(
                "config.rootfs: there is none, so that this is an artifact and no image that could be augmented",
            ));
        };
        let diff_ids = in_document(rootfs.typed("diff_ids", "rootfs.diff_ids"), "config")?.unwrap_or_default();
        let architecture: Option<String> = in_document(document.typed("architecture", "architecture"), "config")?;
        let architecture = architecture.filter(|named| !named.is_empty());
        let asked = platform.map(|platform| platform.architecture.clone());
        Ok(Self {
            document,
            rootfs,
            diff_ids,
            architecture: architecture.or(asked).unwrap_or_default(),
            base_layers: manifest.layers.len(),
        })
    }

    /// What the image is for: its own word, else what was asked for.
    pub(super) fn architecture(&self) -> &str {
        &self.architecture
    }

    /// The new document.
    pub(super) fn apply(mut self, recipe: &Recipe) -> Result<Vec<u8>> {
        in_document(self.run(recipe), "config")?;
        if !recipe.layers.is_empty() {
            in_document(self.history(recipe), "config")?;
            self.diff_ids.extend(recipe.layers.iter().map(|layer| layer.tar_digest.clone()));
            self.rootfs.set("diff_ids", &self.diff_ids)?;
            self.document.set("rootfs", &self.rootfs)?;
        }
        in_document(self.document.write(), "config")
    }

    /// What a container of it runs: `config.config` (image specification, "config.json").
    fn run(&mut self, recipe: &Recipe) -> Result<()> {
        let mut run: Object = self.document.typed("config", "config")?.unwrap_or_default();
        let before: Option<EntryPoint> = run.typed("Entrypoint", "config.Entrypoint")?;
        let before = match before {
            Some(EntryPoint::One(word)) if word.is_empty() => Vec::new(),
            Some(EntryPoint::One(word)) => vec![word],
            Some(EntryPoint::Many(words)) => words,
            None => Vec::new(),
        };
        let env: Vec<String> = run.typed("Env", "config.Env")?.unwrap_or_default();
        if env.len() > MOST {
            return Err(Error::too_big(format!(
                "config.Env: an image with more than {MOST} variables is not augmented"
            )));
        }
        let changed = environment(env.clone(), recipe, &before)?;
        let mut touched = false;
        if !recipe.entrypoint.is_empty() {
            run.set("Entrypoint", &recipe.entrypoint)?;
            touched = true;
        }
        if !recipe.cmd.is_empty() {
            run.set("Cmd", &recipe.cmd)?;
            touched = true;
        }
        if let Some(directory) = recipe.working_dir.as_deref().filter(|directory| !directory.is_empty()) {
            run.set("WorkingDir", &directory)?;
            touched = true;
        }
        if changed != env {
            run.set("Env", &changed)?;
            touched = true;
        }
        if !recipe.labels.is_empty() {
            let mut labels: Object = run.typed("Labels", "config.Labels")?.unwrap_or_default();
            if labels.len() > MOST {
                return Err(Error::too_big(format!("config.Labels: an image with more than {MOST} is not augmented")));
            }
            for (name, value) in &recipe.labels {
                labels.set(name, value)?;
            }
            run.set("Labels", &labels)?;
            touched = true;
        }
        if touched { self.document.set("config", &run) } else { Ok(()) }
    }

    /// One entry for each new layer, if the image has a history that accounts for each of its layers. One that does
    /// not would give our entries to layers of the base, and stays as it is.
    fn history(&mut self, recipe: &Recipe) -> Result<()> {
        let Some(mut history) = self.document.typed::<Vec<Raw>>("history", "history")? else { return Ok(()) };
        let mut made = 0;
        for (at, step) in history.iter().enumerate() {
            let step: Step = serde_json::from_str(step.get())
                .map_err(|cause| Error::malformed(format!("history[{at}] is not understood: {cause}")))?;
            made += usize::from(step.empty_layer != Some(true));
        }
        if made != self.base_layers {
            return Ok(());
        }
        // The image's own moment: the clock would make each result another.
        let created: Option<String> = self.document.typed("created", "created")?;
        for layer in &recipe.layers {
            let mut step = Object::default();
            if let Some(created) = &created {
                step.set("created", created)?;
            }
            step.set("created_by", &CREATED_BY)?;
            step.set("comment", &layer.gzip_digest)?;
            history.push(raw(&step)?);
        }
        self.document.set("history", &history)
    }
}

/// The name of a variable.
fn name(variable: &str) -> &str {
    variable.split('=').next().unwrap_or_default()
}

/// Sets a variable where it is, or as the last one. Where a base has a name twice, engines let the last one win: that
/// one is replaced.
fn put(env: &mut Vec<String>, variable: String) {
    match env.iter_mut().rev().find(|old| name(old) == name(&variable)) {
        Some(old) => *old = variable,
        None => env.push(variable),
    }
}

/// The new environment: what is there, with the recipe's in its place or after it, and the chain of entry points last.
fn environment(mut env: Vec<String>, recipe: &Recipe, before: &[String]) -> Result<Vec<String>> {
    for variable in &recipe.env {
        put(&mut env, variable.clone());
    }
    let given = recipe.env.iter().any(|variable| name(variable) == ENTRY_CHAIN);
    let chained = env.iter().any(|variable| name(variable) == ENTRY_CHAIN);
    // A base that was augmented before has its launcher as entry point and a chain to what the launcher starts. While
    // the launcher stays, so does the chain: to itself it would start itself without end.
    let stays = recipe.entrypoint.is_empty() || recipe.entrypoint == before;
    if before.is_empty() || given || chained && stays {
        return Ok(env);
    }
    let chain = match before {
        [one] => one.clone(),
        many => {
            serde_json::to_string(many).map_err(|cause| Error::broken("a list cannot be written").because(cause))?
        }
    };
    put(&mut env, format!("{ENTRY_CHAIN}={chain}"));
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(before: &[&str]) -> Option<String> {
        let before: Vec<_> = before.iter().map(ToString::to_string).collect();
        environment(Vec::new(), &Recipe::default(), &before).expect("an environment").pop()
    }

    /// Wave, section 9.6.
    #[test]
    fn the_chain_is_what_launchers_read() {
        assert_eq!(chain(&[]), None);
        assert_eq!(chain(&["entrypoint"]).as_deref(), Some("WAVE_ENTRY_CHAIN=entrypoint"));
        assert_eq!(chain(&["entrypoint", "list"]).as_deref(), Some(r#"WAVE_ENTRY_CHAIN=["entrypoint","list"]"#));
        let shell = chain(&["/bin/sh", "-c", "\"echo Hola\""]);
        assert_eq!(shell.as_deref(), Some(r#"WAVE_ENTRY_CHAIN=["/bin/sh","-c","\"echo Hola\""]"#));
        assert_eq!(chain(&["foo", "'bar foo'"]).as_deref(), Some(r#"WAVE_ENTRY_CHAIN=["foo","'bar foo'"]"#));
    }

    #[test]
    fn names_are_replaced_where_they_are() {
        let recipe = Recipe { env: ["A=2", "C=3", "A=4"].map(String::from).into(), ..Recipe::default() };
        let env = ["A=0", "B", "A=1"].map(String::from).into();
        assert_eq!(environment(env, &recipe, &[]).expect("an environment"), ["A=0", "B", "A=4", "C=3"]);
    }

    #[test]
    fn a_launcher_never_starts_itself() {
        let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let base = words(&["WAVE_ENTRY_CHAIN=/app"]);
        let again = Recipe { entrypoint: words(&["/entry.sh"]), ..Recipe::default() };
        for recipe in [&again, &Recipe::default()] {
            assert_eq!(environment(base.clone(), recipe, &words(&["/entry.sh"])).expect("an environment"), base);
        }
        let other = Recipe { entrypoint: words(&["/other.sh"]), ..Recipe::default() };
        let env = environment(base, &other, &words(&["/entry.sh"])).expect("an environment");
        assert_eq!(env, ["WAVE_ENTRY_CHAIN=/entry.sh"]);
    }
}
