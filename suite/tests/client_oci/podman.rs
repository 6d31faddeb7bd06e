//! podman runs what it pulled; buildah builds what it pushes.

use suite::clients::{as_root, installed, program};
use suite::layout::Layout;

use crate::stage::{Access, PASSWORD, Stage, USER};

const NEEDED: &[&str] = &["podman", "skopeo", "runc", "busybox", "htpasswd", "openssl", "nginx"];

#[test]
fn podman_runs_what_it_pulled_through_every_door() {
    if !(installed(NEEDED) && as_root()) {
        return;
    }
    for access in [Access::Open, Access::Users, Access::Public] {
        let stage = Stage::new(access);
        let image = Layout::busybox(&format!("{access:?}"));
        for door in &stage.doors {
            let reference = format!("{}/podman/{}:1", door.address, door.name);
            stage.station.podman_has(&image, &reference);
            if stage.logs_in() {
                stage.station.run(&format!("podman login -u {USER} -p {PASSWORD} {}", door.address)).ok();
            }
            stage.station.run(&format!("podman push {reference}")).ok();
            if access == Access::Public {
                stage.station.run(&format!("podman logout {}", door.address)).ok();
            }
            let digest = stage.digest(&format!("podman/{}", door.name), "1");
            let lines = format!(
                "podman rmi --all --force && podman pull {reference}
                 podman image inspect --format '{{{{.Digest}}}}' {reference}
                 podman run --rm {reference}"
            );
            stage.station.run(&lines).ok().says(&digest).says(&format!("it runs {access:?}"));
        }
    }
}

#[test]
fn buildah_pushes_what_it_built() {
    if !(installed(&["buildah"]) && installed(NEEDED) && as_root()) {
        return;
    }
    let stage = Stage::new(Access::Users);
    let busybox = program("busybox").display().to_string();
    for door in &stage.doors {
        let reference = format!("{}/buildah/{}:1", door.address, door.name);
        let lines = format!(
            "mkdir -p context && cp {busybox} context/busybox
             printf 'FROM scratch\\nCOPY busybox /bin/\\nCMD [\"/bin/busybox\"]\\n' >context/Dockerfile
             buildah login -u {USER} -p {PASSWORD} {address}
             buildah bud -t {reference} context && buildah push {reference}
             buildah rmi {reference} && buildah pull {reference} && buildah images --digests
             buildah logout {address} && ! buildah pull --policy always {reference}",
            address = door.address
        );
        let digest = stage.digest_after(&lines, &format!("buildah/{}", door.name));
        assert!(digest.starts_with("sha256:"));
    }
}
