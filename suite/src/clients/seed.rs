//! What the document "Configuring Artifact Server" tells people to type, letter for letter.

/// The key pair of a server.
pub const SERVER_KEY: &str = r#"openssl req -new -newkey rsa:4096 -x509 -sha256 -days 3650 -nodes -batch -subj "/CN=artifacts.com" -out server.crt -keyout server.key"#;

/// The key pair of a user.
pub const CLIENT_KEY: &str = r#"openssl req -new -newkey rsa:4096 -x509 -sha256 -days 3650 -nodes -batch -subj "/CN=client" -out client.crt -keyout client.key"#;

/// Lets a user in, below a directory that the document calls `/home/artifacts`.
pub const AUTHORIZE: &str = "cat client.crt >> authorized.crt";

/// The public instance.
pub const PULL_UNIT: &str = r#"#
# Pull
#
[Unit]
Description=Buildstream Artifact pull server
After=remote-fs.target network-online.target

[Service]
Environment="LC_ALL=C.UTF-8"
ExecStart=/usr/local/bin/bst-artifact-server --port 11001 --server-key {{certs_path}}/server.key --server-cert {{certs_path}}/server.crt {{artifacts_path}}
User=artifacts

[Install]
WantedBy=multi-user.target
"#;

/// The instance that takes pushes.
pub const PUSH_UNIT: &str = r#"#
# Pull/Push
#
[Unit]
Description=Buildstream Artifact pull/push server
After=remote-fs.target network-online.target

[Service]
Environment="LC_ALL=C.UTF-8"
ExecStart=/usr/local/bin/bst-artifact-server --port 11002 --server-key {{certs_path}}/server.key --server-cert {{certs_path}}/server.crt --client-certs {{certs_path}}/authorized.crt --enable-push {{artifacts_path}}
User=artifacts

[Install]
WantedBy=multi-user.target
"#;

/// What BuildStream 1's document puts into `/etc/ssh/sshd_config`, letter for letter.
pub const FORCE_COMMAND: &str = r#"
   # Allow ssh logins/commands with the artifacts user
   AllowUsers artifacts

   # Some specifics for the artifacts user
   Match user artifacts

        # Dont allow password authentication for artifacts user
	#
        PasswordAuthentication no

        # Also lets dedicate this login for only running the
	# bst-artifact-receive program, note that the full
	# command must be specified here; 'artifacts' is
	# the HOME relative path to the artifact cache.
	# The exact pull URL must also be specified.
        ForceCommand bst-artifact-receive --pull-url https://example.com/artifacts --verbose artifacts
"#;

/// Lets a user push to BuildStream 1's server, below the home directory that the document calls `/home/artifacts`.
pub const AUTHORIZE_SSH: &str = "cat user_id_rsa.pub >> .ssh/authorized_keys";
