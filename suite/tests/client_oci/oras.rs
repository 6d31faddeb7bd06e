//! The oras library for Python, which carries any artifact.

use std::path::Path;

use suite::clients::{as_root, installed, program};

use crate::stage::{Access, PASSWORD, Stage, USER};

#[test]
fn oras_pushes_and_pulls_through_every_door() {
    if !(installed(&["oras", "htpasswd", "openssl", "nginx"]) && as_root()) {
        return;
    }
    let python = program("oras").display().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client_oci/artifact.py").display().to_string();
    for access in [Access::Open, Access::Users, Access::Public] {
        let stage = Stage::new(access);
        let authority = stage.authority.file("ca.crt");
        for door in &stage.doors {
            for backend in ["token", "basic"] {
                let repository = format!("oras/{}-{backend}", door.name);
                let (address, tls) = (&door.address, if door.tls { "tls" } else { "plain" });
                let run = |what: &str, user: &str, password: &str| {
                    let lines = format!(
                        "REQUESTS_CA_BUNDLE={authority} {python} {script} {backend}-{what} {address} {repository} \
                         {tls} '{user}' '{password}'"
                    );
                    stage.station.run(&lines)
                };
                let (user, password) = if stage.logs_in() { (USER, PASSWORD) } else { ("", "") };
                run("push", user, password).ok().says("201").says("sha256:");
                // It wrote the password down; whoever comes next has none.
                stage.station.run("rm -rf .docker").ok();
                // It tries for a minute before it gives up: one door is enough.
                if stage.logs_in() && !door.tls && backend == "token" {
                    run("push", "", "").fails();
                }
                let (user, password) = if access == Access::Public { ("", "") } else { (user, password) };
                run("pull", user, password).ok().says("hello from oras");
                stage.station.run("rm -rf .docker out").ok();
            }
        }
    }
}
