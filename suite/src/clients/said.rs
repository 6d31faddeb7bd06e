//! What came of running a program.

use std::process::Output;

/// What a program said, and how it ended.
#[derive(Debug)]
pub struct Said {
    line: String,
    code: Option<i32>,
    text: String,
}

impl Said {
    /// What came of a command line.
    pub(super) fn new(line: String, done: &Output) -> Self {
        let mut text = String::from_utf8_lossy(&done.stderr).into_owned();
        text += &String::from_utf8_lossy(&done.stdout);
        Self { line, code: done.status.code(), text }
    }

    /// It ended well.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}\n{}", self.line, self.text);
        self
    }

    /// Whether it ended well.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// It told a failure by its exit status.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!matches!(self.code, Some(0) | None), "{} has to fail\n{}", self.line, self.text);
        self
    }

    /// The words are in what it wrote.
    ///
    /// # Panics
    /// When they are not.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(self.text.contains(words), "{} does not say {words:?}\n{}", self.line, self.text);
        self
    }

    /// The words are not in what it wrote.
    ///
    /// # Panics
    /// When they are.
    #[track_caller]
    pub fn says_not(self, words: &str) -> Self {
        assert!(!self.text.contains(words), "{} says {words:?}\n{}", self.line, self.text);
        self
    }

    /// All that it wrote.
    pub fn text(&self) -> &str {
        &self.text
    }
}
