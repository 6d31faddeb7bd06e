//! Whether a submit request can be done, in the order of Wave's own checks (its section 3.3), so that a client hears of
//! the same fault first. A pure function: who asks and which features are on come in, a refusal or a plan comes out.
//!
//! What needs a registry, whether the image is there, is the caller's next step; [`missing_image`] has its text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use image::{LONGEST_LOCATION, Platform, Recipe, Reference, Target, is_host, is_repository};

use crate::{SubmitRequest, Version};

/// Longest Conda environment, in characters of its base64.
const LONGEST_CONDA: usize = 50_000;
/// Longest container file, in characters of its base64.
const LONGEST_FILE: usize = 10_000;
/// Most images whose layers are added.
const MOST_INCLUDES: usize = 10;

/// Who asks, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// No token was given.
    Anonymous,
    /// A token that is known.
    Known,
    /// A token that nobody knows.
    Unknown,
    /// A token of a Platform that this service is not paired with.
    Unpaired,
}

/// What is switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Requests without a token.
    pub anonymous: bool,
    /// Tokens for augmented pulls; without it only lasting images are made.
    pub ephemeral: bool,
    /// Builds of container files and packages.
    pub builder: bool,
    /// Copies.
    pub mirror: bool,
    /// Scans.
    pub scanner: bool,
}

/// What a request is held to.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Which interface was asked.
    pub version: Version,
    /// Who asks.
    pub asker: Asker,
    /// What is on.
    pub features: Features,
    /// The service's own repositories (build, cache, public): none of them is a custom one.
    pub own_repositories: Vec<String>,
}

/// A request that can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The image; absent for a build of a container file.
    pub image: Option<Reference>,
    /// For which machine.
    pub platform: Platform,
    /// What to add; empty for a plain pull.
    pub recipe: Recipe,
    /// Whether a lasting image is made.
    pub freeze: bool,
    /// Whether the image is copied.
    pub mirror: bool,
    /// Images whose layers are added.
    pub includes: Vec<Reference>,
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status: 400, 401 or 501.
    pub status: u16,
    /// What was wrong and what to do.
    pub message: String,
}

fn refused<T>(message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { status: 400, message: message.into() })
}

/// A feature that is off.
fn off<T>(feature: &str, field: &str) -> Result<T, Refusal> {
    Err(Refusal { status: 501, message: format!("{field}: it needs the feature {feature:?}, which is off here") })
}

fn in_field(field: &str) -> impl Fn(model::Error) -> Refusal + '_ {
    move |error| Refusal { status: 400, message: format!("{field}: {}", error.text()) }
}

/// The text for an image that the upstream does not give; `why` is what the upstream said.
#[must_use]
pub fn missing_image(image: &str, why: &str) -> String {
    let known = format!("Container image '{image}' does not exist or access is not authorized");
    if why.is_empty() { known } else { format!("{known}: {why}") }
}

/// Text that is there and not empty.
fn some(text: Option<&String>) -> Option<&str> {
    text.map(String::as_str).filter(|text| !text.is_empty())
}

/// Checks a request, fault by fault in the order of Wave's.
///
/// # Errors
/// The first fault, with its HTTP status. Texts name the field.
pub fn validate(request: &SubmitRequest, rules: &Rules) -> Result<Checked, Refusal> {
    let image = some(request.container_image.as_ref());
    let file = some(request.container_file.as_ref());
    let recipe = request.container_config.clone().unwrap_or_default();
    let freeze = request.freeze.unwrap_or(false);
    let mirror = request.mirror.unwrap_or(false);
    lengths(request, &recipe)?;
    let reference = image.map(|image| image.parse::<Reference>().map_err(in_field("containerImage"))).transpose()?;
    if !mirror {
        repository(request.build_repository.as_ref(), "buildRepository")?;
        repository(request.cache_repository.as_ref(), "cacheRepository")?;
    } else {
        mirrored(request, rules, reference.as_ref(), &recipe)?;
    }
    asker(rules)?;
    kinds(request, rules, file)?;
    let custom = some(request.build_repository.as_ref())
        .filter(|repository| !rules.own_repositories.iter().any(|own| !own.is_empty() && repository.starts_with(own)));
    if freeze && custom.is_none() {
        return refused(
            "freeze: say where the lasting image goes: buildRepository, which is none of the service's own",
        );
    }
    let platform = some(request.container_platform.as_ref()).unwrap_or("linux/amd64");
    if platform.contains(',') {
        return refused("containerPlatform: several platforms come only with a build: ask for one");
    }
    let platform: Platform = platform.parse().map_err(in_field("containerPlatform"))?;
    together(request, &recipe, freeze)?;
    recipe.check().map_err(in_field("containerConfig"))?;
    let includes = includes(request)?;
    features(request, rules, file)?;
    if let Some(file) = file {
        container_file(file)?;
    }
    if !rules.features.ephemeral && !freeze && !mirror && file.is_none() {
        return refused("Tokens for augmented pulls are off here: ask with freeze and a buildRepository");
    }
    Ok(Checked { image: reference, platform, recipe, freeze, mirror, includes })
}

fn lengths(request: &SubmitRequest, recipe: &Recipe) -> Result<(), Refusal> {
    let long = |text: Option<&String>, most: usize| text.is_some_and(|text| text.len() > most);
    if long(request.conda_file.as_ref(), LONGEST_CONDA) {
        return refused(format!("condaFile: at most {LONGEST_CONDA} characters are taken"));
    }
    if long(request.container_file.as_ref(), LONGEST_FILE) {
        return refused(format!("containerFile: at most {LONGEST_FILE} characters are taken"));
    }
    match recipe.layers.iter().position(|layer| layer.location.len() > LONGEST_LOCATION) {
        Some(at) => refused(format!(
            "containerConfig: layers[{at}].location: at most {LONGEST_LOCATION} characters are taken: give a URL instead"
        )),
        None => Ok(()),
    }
}

/// A repository to write to: `host/path`, or a path at docker.io.
fn repository(written: Option<&String>, field: &str) -> Result<(), Refusal> {
    let Some(written) = some(written) else { return Ok(()) };
    let short: String = written.chars().take(200).collect();
    let (host, path) = written.split_once('/').unwrap_or(("", written));
    if written.contains("://") {
        return refused(format!("{field}: {short:?}: leave the scheme out"));
    }
    let path = if is_host(host) { path } else { written };
    if path.contains(['@', ':']) {
        return refused(format!("{field}: {short:?}: leave the tag or digest out"));
    }
    if is_host(path) && !path.contains('/') || !is_repository(path) {
        return refused(format!("{field}: {short:?} is no repository: write HOST/PATH, such as quay.io/team/tools"));
    }
    Ok(())
}

fn mirrored(request: &SubmitRequest, rules: &Rules, image: Option<&Reference>, recipe: &Recipe) -> Result<(), Refusal> {
    if rules.version == Version::One {
        return refused("mirror: it is not known to /container-token: ask /v1alpha2/container");
    }
    let Some(image) = image else { return refused("mirror: say which containerImage to copy") };
    if rules.asker == Asker::Anonymous {
        return refused("mirror: only who has a token may copy images: send towerAccessToken");
    }
    let target = some(request.build_repository.as_ref());
    let Some(target) = target.filter(|target| !rules.own_repositories.iter().any(|own| target.starts_with(own))) else {
        return refused("mirror: say where the copy goes: buildRepository, which is none of the service's own");
    };
    let host = target.split('/').next().filter(|host| is_host(host)).unwrap_or("docker.io");
    if host == &*image.registry {
        return refused("mirror: buildRepository is in the registry that has the image: name another registry");
    }
    let includes = request.container_includes.as_ref().is_some_and(|includes| !includes.is_empty());
    for (field, given) in [
        ("freeze", request.freeze.unwrap_or(false)),
        ("containerFile", request.container_file.is_some()),
        ("containerIncludes", includes),
        ("containerConfig", !recipe.is_empty()),
    ] {
        if given {
            return refused(format!("mirror: a copy is not changed: leave {field} out"));
        }
    }
    Ok(())
}

fn asker(rules: &Rules) -> Result<(), Refusal> {
    match rules.asker {
        Asker::Unpaired => refused("Missing pairing record for this towerEndpoint: the Platform has to pair first"),
        Asker::Unknown => {
            Err(Refusal { status: 401, message: "towerAccessToken: it is not known here, or has ended".into() })
        }
        Asker::Anonymous if !rules.features.anonymous => refused("Missing user access token: send towerAccessToken"),
        Asker::Anonymous | Asker::Known => Ok(()),
    }
}

/// What goes with which version of the interface.
fn kinds(request: &SubmitRequest, rules: &Rules, file: Option<&str>) -> Result<(), Refusal> {
    match rules.version {
        Version::Two if file.is_some() && request.packages.is_some() => {
            refused("containerFile and packages: send one of them")
        }
        Version::Two if request.conda_file.is_some() => refused("condaFile: send packages instead"),
        Version::One if request.packages.is_some() => refused("packages: ask /v1alpha2/container"),
        Version::One if request.name_strategy.is_some() => refused("nameStrategy: ask /v1alpha2/container"),
        Version::One | Version::Two => Ok(()),
    }
}

/// What goes with what.
fn together(request: &SubmitRequest, recipe: &Recipe, freeze: bool) -> Result<(), Refusal> {
    let image = some(request.container_image.as_ref());
    let source = some(request.container_file.as_ref()).is_some() || request.packages.is_some();
    match (image, source) {
        (None, false) => return refused("Container image name is not provided: send containerImage or containerFile"),
        (Some(_), true) => return refused("containerImage and containerFile or packages: send one of them"),
        _ => {}
    }
    let pinned = image.and_then(|image| image.parse::<Reference>().ok());
    let pinned = pinned.is_some_and(|image| matches!(image.target, Target::Digest(_)));
    if pinned && !recipe.is_empty() && !freeze {
        return refused(
            "containerImage: an image that is named by its digest cannot be changed under that name: name it by a tag, \
             or ask with freeze and a buildRepository",
        );
    }
    match request.format.as_deref() {
        None | Some("" | "docker") => {}
        Some("sif") if freeze => {}
        Some("sif") => return refused("format: Singularity images are only built as lasting ones: ask with freeze"),
        Some(_) => return refused("format: write sif, or leave it out"),
    }
    match request.scan_mode.as_deref() {
        None | Some("" | "none" | "async" | "required") => Ok(()),
        Some(_) => refused("scanMode: write none, async or required"),
    }
}

fn includes(request: &SubmitRequest) -> Result<Vec<Reference>, Refusal> {
    let includes = request.container_includes.as_deref().unwrap_or_default();
    if includes.len() > MOST_INCLUDES {
        return refused(format!("containerIncludes: at most {MOST_INCLUDES} images are taken"));
    }
    let read = |(at, image): (usize, &String)| image.parse().map_err(in_field(&format!("containerIncludes[{at}]")));
    includes.iter().enumerate().map(read).collect()
}

/// What needs a feature that is off.
fn features(request: &SubmitRequest, rules: &Rules, file: Option<&str>) -> Result<(), Refusal> {
    let on = rules.features;
    let scan = matches!(request.scan_mode.as_deref(), Some("async" | "required"));
    for (needed, on, feature, field) in [
        (file.is_some(), on.builder, "build", "containerFile"),
        (request.packages.is_some(), on.builder, "build", "packages"),
        (request.conda_file.is_some(), on.builder, "build", "condaFile"),
        (request.build_context.is_some(), on.builder, "build", "buildContext"),
        (request.format.as_deref() == Some("sif"), on.builder, "build", "format"),
        (request.mirror == Some(true), on.mirror, "mirror", "mirror"),
        (scan, on.scanner, "scan", "scanMode"),
    ] {
        if needed && !on {
            return off(feature, field);
        }
    }
    Ok(())
}

/// A container file that would copy a builder's own credentials is refused (codes 100 and 101).
fn container_file(file: &str) -> Result<(), Refusal> {
    let decoded = STANDARD.decode(file).ok().filter(|bytes| STANDARD.encode(bytes) == file);
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let Some(text) = text else {
        return refused("containerFile: it is not base64 of a text (one line, with padding)");
    };
    for (secret, code) in [("/.docker/config.json", 100), ("/kaniko", 101)] {
        if text.contains(secret) {
            return refused(format!("containerFile: it may not name {secret} (error code {code})"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(version: Version) -> Rules {
        let features = Features { anonymous: true, ephemeral: true, ..Features::default() };
        Rules { version, asker: Asker::Anonymous, features, own_repositories: vec!["docker.io/own/build".into()] }
    }

    fn request(text: &str) -> SubmitRequest {
        serde_json::from_str(text).expect("a request")
    }

    fn refusal(text: &str, rules: &Rules) -> (u16, String) {
        let refusal = validate(&request(text), rules).expect_err(text);
        (refusal.status, refusal.message)
    }

    const DIGEST: &str = "sha256:e9d6f29eecde29c12f0d32a1bc81aa9f4fcb76f8d813b8f1a37e8af5ee6b7657";

    #[test]
    fn what_can_be_done_is_planned() {
        let text = format!(
            r#"{{"containerImage":"busybox","containerPlatform":"aarch64","containerConfig":{{"layers":[
            {{"location":"https://x/l","gzipDigest":"{DIGEST}","gzipSize":9,"tarDigest":"{DIGEST}"}}]}}}}"#
        );
        let checked = validate(&request(&text), &rules(Version::Two)).expect("it can be done");
        assert_eq!(checked.image.map(|image| image.to_string()).as_deref(), Some("docker.io/library/busybox:latest"));
        assert_eq!((checked.platform.to_string().as_str(), checked.recipe.layers.len()), ("linux/arm64", 1));
        let plain = validate(&request(r#"{"containerImage":"quay.io/a/b:1"}"#), &rules(Version::One)).expect("plain");
        assert!(plain.recipe.is_empty() && plain.platform.to_string() == "linux/amd64");
        let pinned = format!(r#"{{"containerImage":"busybox@{DIGEST}","containerConfig":{{"env":[]}}}}"#);
        assert!(validate(&request(&pinned), &rules(Version::One)).is_ok(), "an empty recipe changes nothing");
    }

    #[test]
    fn faults_are_told_with_their_field() {
        let two = rules(Version::Two);
        let file = |text: &str| format!(r#"{{"containerFile":"{}"}}"#, STANDARD.encode(text));
        let mut building = two.clone();
        building.features.builder = true;
        for (text, rules, status, begin) in [
            ("{}".to_owned(), &two, 400, "Container image name is not provided"),
            (r#"{"containerImage":"http://a/b"}"#.into(), &two, 400, "containerImage: "),
            (
                r#"{"containerImage":"a","containerFile":"eA=="}"#.into(),
                &building,
                400,
                "containerImage and containerFile",
            ),
            (
                format!(r#"{{"containerImage":"a@{DIGEST}","containerConfig":{{"env":["A=b"]}}}}"#),
                &two,
                400,
                "containerImage: an image that is named",
            ),
            (r#"{"containerImage":"a","containerConfig":{"env":["A"]}}"#.into(), &two, 400, "containerConfig: env[0]"),
            (
                r#"{"containerImage":"a","containerConfig":{"layers":[{"location":"x","gzipDigest":"y"}]}}"#.into(),
                &two,
                400,
                "containerConfig: layers[0].gzipDigest",
            ),
            (r#"{"containerImage":"a","containerPlatform":"foo/"}"#.into(), &two, 400, "containerPlatform: "),
            (
                r#"{"containerImage":"a","containerPlatform":"linux/amd64,linux/arm64"}"#.into(),
                &two,
                400,
                "containerPlatform: ",
            ),
            (r#"{"containerImage":"a","freeze":true}"#.into(), &two, 400, "freeze: "),
            (
                r#"{"containerImage":"a","freeze":true,"buildRepository":"docker.io/own/build/x"}"#.into(),
                &two,
                400,
                "freeze: ",
            ),
            (r#"{"containerImage":"a","buildRepository":"https://x/y"}"#.into(), &two, 400, "buildRepository: "),
            (r#"{"containerImage":"a","buildRepository":"quay.io/x:1"}"#.into(), &two, 400, "buildRepository: "),
            (r#"{"containerImage":"a","cacheRepository":"quay.io"}"#.into(), &two, 400, "cacheRepository: "),
            (r#"{"containerImage":"a","format":"sif"}"#.into(), &two, 400, "format: "),
            (r#"{"containerImage":"a","scanMode":"async"}"#.into(), &two, 501, "scanMode: "),
            (r#"{"containerImage":"a","scanMode":"x"}"#.into(), &two, 400, "scanMode: "),
            (r#"{"packages":{"type":"CONDA"}}"#.into(), &two, 501, "packages: "),
            (r#"{"packages":{"type":"CONDA"}}"#.into(), &rules(Version::One), 400, "packages: "),
            (r#"{"containerImage":"a","condaFile":"eA=="}"#.into(), &two, 400, "condaFile: send packages"),
            (file("FROM a"), &two, 501, "containerFile: "),
            (
                file("COPY /.docker/config.json /x"),
                &building,
                400,
                "containerFile: it may not name /.docker/config.json (error code 100)",
            ),
            (file("COPY /kaniko /x"), &building, 400, "containerFile: it may not name /kaniko (error code 101)"),
            (r#"{"containerFile":"eA"}"#.into(), &building, 400, "containerFile: it is not base64"),
            (format!(r#"{{"containerFile":"{}"}}"#, "x".repeat(10_001)), &building, 400, "containerFile: at most"),
            (format!(r#"{{"condaFile":"{}"}}"#, "x".repeat(50_001)), &building, 400, "condaFile: at most"),
            (
                format!(r#"{{"containerImage":"a","containerIncludes":[{}"b"]}}"#, "\"b\",".repeat(10)),
                &two,
                400,
                "containerIncludes: ",
            ),
            (r#"{"containerImage":"a","containerIncludes":["A"]}"#.into(), &two, 400, "containerIncludes[0]: "),
        ] {
            let (found, message) = refusal(&text, rules);
            assert_eq!(found, status, "{text:.200}: {message}");
            assert!(message.starts_with(begin), "{text:.200}: {message}");
        }
        assert!(validate(&request(&file("FROM a")), &building).is_ok());
    }

    #[test]
    fn the_first_fault_is_told_first() {
        let one = rules(Version::One);
        // Each request has the faults of all that follow it.
        let (_, message) = refusal(r#"{"containerImage":"A","buildRepository":"x://y","packages":{}}"#, &one);
        assert!(message.starts_with("containerImage"), "{message}");
        let (_, message) =
            refusal(r#"{"containerImage":"a","buildRepository":"x://y","packages":{},"freeze":true}"#, &one);
        assert!(message.starts_with("buildRepository"), "{message}");
        let (_, message) =
            refusal(r#"{"containerImage":"a","packages":{},"freeze":true,"containerPlatform":"/"}"#, &one);
        assert!(message.starts_with("packages"), "{message}");
        let (_, message) = refusal(r#"{"freeze":true,"containerPlatform":"/"}"#, &one);
        assert!(message.starts_with("freeze"), "{message}");
        let (_, message) = refusal(r#"{"containerPlatform":"/"}"#, &one);
        assert!(message.starts_with("containerPlatform"), "{message}");
    }

    #[test]
    fn who_asks_matters() {
        let text = r#"{"containerImage":"a"}"#;
        let mut rules = rules(Version::Two);
        rules.asker = Asker::Unknown;
        assert_eq!(refusal(text, &rules).0, 401);
        rules.asker = Asker::Unpaired;
        assert!(refusal(text, &rules).1.starts_with("Missing pairing record"));
        rules.asker = Asker::Anonymous;
        rules.features.anonymous = false;
        assert!(refusal(text, &rules).1.starts_with("Missing user access token"));
        rules.asker = Asker::Known;
        rules.features.ephemeral = false;
        assert!(refusal(text, &rules).1.contains("freeze"));
    }

    #[test]
    fn a_copy_goes_elsewhere_unchanged() {
        let mut rules = rules(Version::Two);
        let text = r#"{"containerImage":"a","mirror":true,"buildRepository":"quay.io/x"}"#;
        assert!(refusal(text, &rules).1.contains("token"));
        rules.asker = Asker::Known;
        assert_eq!(refusal(text, &rules).0, 501);
        rules.features.mirror = true;
        assert!(validate(&request(text), &rules).expect("a copy").mirror);
        for (more, word) in [
            (r#""buildRepository":"docker.io/x/y""#, "another registry"),
            (r#""buildRepository":"docker.io/own/build""#, "buildRepository"),
            (r#""buildRepository":"quay.io/x","freeze":true"#, "freeze"),
            (r#""buildRepository":"quay.io/x","containerConfig":{"cmd":["x"]}"#, "containerConfig"),
        ] {
            let (_, message) = refusal(&format!(r#"{{"containerImage":"a","mirror":true,{more}}}"#), &rules);
            assert!(message.contains(word), "{more}: {message}");
        }
        rules.version = Version::One;
        assert!(refusal(text, &rules).1.contains("/v1alpha2/container"));
    }

    /// Wave, section 9.1 and the text that its clients know.
    #[test]
    fn a_missing_image_is_told_as_clients_know_it() {
        assert_eq!(missing_image("x", ""), "Container image 'x' does not exist or access is not authorized");
        assert!(missing_image("x", "the registry answered 503").ends_with("503"));
    }
}
