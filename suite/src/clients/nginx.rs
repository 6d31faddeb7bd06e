//! Debian's nginx, in the foreground, with a configuration of the test.

use std::process::Command;

use super::{Hub, free_port, program};

/// A running nginx.
#[derive(Debug)]
pub struct Nginx {
    hub: Hub,
    /// Its files; removed after it ended.
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// Starts it with what stands in a `server` block; `PORT` becomes a free port.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(server: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (port, place) = (free_port(), directory.path().display());
        let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("    {name}_temp_path {place}/{name};\n"))
            .collect();
        let server = server.replace("PORT", &port.to_string());
        let text = format!(
            "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n{paths}    \
             access_log /dev/stdout;\n    server {{\n{server}\n    }}\n}}\n"
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, text).expect("a configuration file");
        let mut command = Command::new(program("nginx"));
        command.args(["-e", "stderr", "-c"]).arg(&file).arg("-p").arg(directory.path());
        Self { hub: Hub::start(port, &mut command), _directory: directory }
    }

    /// Where clients find it without TLS.
    pub fn url(&self) -> String {
        self.hub.url()
    }

    /// Where clients find it with TLS.
    pub fn secure_url(&self) -> String {
        self.hub.secure_url()
    }
}
