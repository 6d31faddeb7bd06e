//! A hub with the three doors that registries have, for callers of one of the usual kinds.

use suite::clients::{Api, Authority, Hub, Nginx, Station, free_port, users};
use tempfile::TempDir;

/// The user of all tests.
pub(crate) const USER: &str = "alice";
/// Her password.
pub(crate) const PASSWORD: &str = "open-sesame";

/// Who may do what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anybody may do everything.
    Open,
    /// Nobody may do anything without logging in.
    Users,
    /// Anybody may pull; users push and delete.
    Public,
}

impl Access {
    fn settings(self, users: &str) -> String {
        let anonymous = match self {
            Self::Open => return "anonymous = [\"push,delete\"]\n".into(),
            Self::Users => "",
            Self::Public => "\"pull\"",
        };
        format!("anonymous = [{anonymous}]\nusers = \"{users}\"\nuser_grants = [\"push,delete\"]\n")
    }
}

/// Where clients come in.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) name: &'static str,
    /// `HOST:PORT`, as it stands in references.
    pub(crate) address: String,
    pub(crate) tls: bool,
}

/// A running hub, and a machine that knows it.
pub(crate) struct Stage {
    pub(crate) station: Station,
    _hub: Hub,
    pub(crate) access: Access,
    pub(crate) doors: Vec<Door>,
    _nginx: Nginx,
    pub(crate) authority: Authority,
    _root: TempDir,
}

impl Stage {
    pub(crate) fn new(access: Access) -> Self {
        Self::with(access, "")
    }

    /// With more configuration.
    pub(crate) fn with(access: Access, more: &str) -> Self {
        let (root, authority) = (tempfile::tempdir().expect("a directory"), Authority::new());
        let file = root.path().join("users");
        users(&file, USER, PASSWORD);
        let settings = access.settings(&file.display().to_string());
        let (tls, behind) = (free_port(), free_port());
        let (certificate, key) = (authority.file("server.crt"), authority.file("server.key"));
        let hub = Hub::configured(
            root.path(),
            &format!(
                "{more}\n[[listen]]\nname = \"plain\"\naddress = \"127.0.0.1:PORT\"\n{settings}\n[[listen]]\nname = \
                 \"tls\"\naddress = \"127.0.0.1:{tls}\"\ncertificate = \"{certificate}\"\nkey = \
                 \"{key}\"\n{settings}\n[[listen]]\nname = \"behind\"\naddress = \"127.0.0.1:{behind}\"\nproxies = \
                 [\"127.0.0.1\"]\n{settings}"
            ),
        );
        let (nginx, outside) = proxy(&authority, behind);
        let station = Station::new();
        let doors = vec![
            Door { name: "plain", address: format!("localhost:{}", hub.port()), tls: false },
            Door { name: "tls", address: format!("registry.example:{tls}"), tls: true },
            Door { name: "nginx", address: format!("registry.example:{outside}"), tls: true },
        ];
        for door in &doors {
            if door.tls {
                station.trust(&door.address, &authority.path().join("ca.crt"));
            } else {
                station.plain(&door.address);
            }
        }
        Self { station, _hub: hub, access, doors, _nginx: nginx, authority, _root: root }
    }

    /// Where plain HTTP is spoken.
    pub(crate) fn plain(&self) -> &str {
        &self.doors[0].address
    }

    /// The registry without any client's opinions, as whoever may do everything.
    pub(crate) fn api(&self) -> Api {
        let api = Api::new(&format!("http://{}", self.plain()));
        if self.access == Access::Open { api } else { api.user(USER, PASSWORD) }
    }

    /// Whether a login is needed for pushing.
    pub(crate) fn logs_in(&self) -> bool {
        self.access != Access::Open
    }

    /// What a tag points at.
    pub(crate) fn digest(&self, repository: &str, tag: &str) -> String {
        let (api, repository, tag) = (self.api(), repository.to_owned(), tag.to_owned());
        block(async move { api.manifest(&repository, &tag).await }).expect("a manifest").0
    }
}

/// Runs a little asynchronous work in a test that drives programs.
pub(crate) fn block<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(work)
}

/// An nginx that ends TLS in front of a listener, as docs/guides/registry.md says.
fn proxy(authority: &Authority, port: u16) -> (Nginx, String) {
    let (certificate, key) = (authority.file("server.crt"), authority.file("server.key"));
    let nginx = Nginx::start(&format!(
        "listen PORT ssl;\nserver_name registry.example;\nssl_certificate {certificate};\nssl_certificate_key \
         {key};\nclient_max_body_size 0;\nlocation / {{\nproxy_pass http://127.0.0.1:{port};\nproxy_http_version \
         1.1;\nproxy_request_buffering off;\nproxy_buffering off;\nproxy_set_header Host \
         $http_host;\nproxy_set_header X-Forwarded-Host $http_host;\nproxy_set_header X-Forwarded-Proto \
         $scheme;\nproxy_set_header X-Forwarded-For $remote_addr;\n}}"
    ));
    let outside = nginx.url().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    (nginx, outside)
}

impl Stage {
    /// Runs lines that push `REPOSITORY:1`, and that have to name its digest.
    pub(crate) fn digest_after(&self, lines: &str, repository: &str) -> String {
        let said = self.station.run(lines).ok();
        let digest = self.digest(repository, "1");
        said.says(&digest);
        digest
    }
}
