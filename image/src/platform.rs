//! Which machine an image is for.

use std::fmt;
use std::str::FromStr;

use model::{Error, Result};
use serde::Deserialize;

/// A platform as image indexes and configurations write it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// The operating system, such as `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor as Go names it, such as `amd64`.
    #[serde(default)]
    pub architecture: String,
    /// The processor's variant, such as `v7`; empty where there is none.
    #[serde(default)]
    pub variant: String,
}

impl Platform {
    /// True when an image of this platform is what `wanted` asks for. A variant that is not asked for does not matter;
    /// `arm64` without one is `v8`, `arm` without one is `v7`.
    #[must_use]
    pub fn is(&self, wanted: &Self) -> bool {
        let variant = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_str()) {
            ("arm64", "") => "v8".to_owned(),
            ("arm", "") => "v7".to_owned(),
            (_, variant) => variant.to_owned(),
        };
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_empty() && self.architecture != "arm" || variant(self) == variant(wanted))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `os/architecture[/variant]` or an architecture alone, with the names that people use (`x86_64`, `aarch64`).
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => ("", "", ""),
        };
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if os.is_empty() || architecture.is_empty() || !(plain(os) && plain(architecture) && plain(variant)) {
            let text: String = text.chars().take(80).collect();
            return Err(Error::malformed(format!(
                "{text:?} is no platform: write OS/ARCHITECTURE, such as linux/amd64"
            )));
        }
        let variant = if (architecture, variant) == ("arm64", "v8") { "" } else { variant };
        Ok(Self { os: os.into(), architecture: architecture.into(), variant: variant.into() })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    #[test]
    fn platforms_have_aliases() {
        assert_eq!(platform("x86_64"), platform("linux/amd64"));
        assert_eq!(platform("linux/arm64/v8"), platform("aarch64"));
        assert!(platform("linux/arm64").is(&Platform { variant: "v8".into(), ..platform("arm64") }));
        assert!(platform("linux/amd64/v2").is(&platform("amd64")));
        assert!(platform("linux/arm").is(&platform("linux/arm/v7")) && !platform("linux/arm/v6").is(&platform("arm")));
        assert!("linux/".parse::<Platform>().is_err() && "a/b/c/d".parse::<Platform>().is_err());
    }
}
