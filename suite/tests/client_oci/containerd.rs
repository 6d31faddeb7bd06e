//! containerd, by its tool `ctr`.

use suite::clients::{as_root, installed};
use suite::layout::Layout;

use crate::stage::{Access, PASSWORD, Stage, USER};

const NEEDED: &[&str] = &["containerd", "ctr", "busybox", "htpasswd", "openssl", "nginx"];

#[test]
fn containerd_pushes_and_pulls_through_every_door() {
    if !(installed(NEEDED) && as_root()) {
        return;
    }
    for access in [Access::Open, Access::Users, Access::Public] {
        let mut stage = Stage::new(access);
        if !stage.station.containerd() {
            return;
        }
        let image = Layout::busybox("containerd");
        let lines = format!(
            "tar -cf image.tar -C {} . && ctr images import --base-name local/image image.tar",
            image.path().display()
        );
        stage.station.run(&lines).ok();
        for door in &stage.doors {
            let reference = format!("{}/containerd/{}:1", door.address, door.name);
            let how = if door.tls { "--hosts-dir /etc/containerd/certs.d" } else { "--plain-http" };
            let user = if stage.logs_in() { format!("-u {USER}:{PASSWORD}") } else { String::new() };
            stage.station.run(&format!("ctr images push {how} {user} {reference} local/image:1")).ok();
            assert_eq!(stage.digest(&format!("containerd/{}", door.name), "1"), image.digest());
            let user = if access == Access::Public { String::new() } else { user };
            let lines = format!("ctr images pull {how} {user} {reference} && ctr images ls");
            stage.station.run(&lines).ok().says(&reference).says(&image.digest());
            if access == Access::Users {
                stage.station.run(&format!("ctr images pull {how} {reference}")).fails().says("401");
            }
        }
    }
}
