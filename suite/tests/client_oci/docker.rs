//! Docker's engine, where it starts.

use suite::clients::{as_root, installed};
use suite::layout::Layout;

use crate::stage::{Access, PASSWORD, Stage, USER};

const NEEDED: &[&str] = &["docker", "dockerd", "skopeo", "busybox", "htpasswd", "openssl", "nginx"];

#[test]
fn docker_runs_what_it_pulled_through_every_door() {
    if !(installed(NEEDED) && as_root()) {
        return;
    }
    for access in [Access::Open, Access::Users, Access::Public] {
        let mut stage = Stage::new(access);
        if !stage.station.docker() {
            return;
        }
        let image = Layout::busybox(&format!("{access:?}"));
        let lines = format!(
            "skopeo copy oci:{}:1 docker-archive:image.tar:image:1 && docker load -i image.tar",
            image.path().display()
        );
        stage.station.run(&lines).ok();
        for door in &stage.doors {
            let reference = format!("{}/docker/{}:1", door.address, door.name);
            if stage.logs_in() {
                stage.station.run(&format!("docker login -u {USER} -p {PASSWORD} {}", door.address)).ok();
            }
            stage.station.run(&format!("docker tag image:1 {reference} && docker push {reference}")).ok();
            if access == Access::Public {
                stage.station.run(&format!("docker logout {}", door.address)).ok();
            }
            let digest = stage.digest(&format!("docker/{}", door.name), "1");
            let lines = format!(
                "docker rmi {reference} && docker pull {reference} && docker run --rm --network none {reference}"
            );
            stage.station.run(&lines).ok().says(&digest).says(&format!("it runs {access:?}"));
        }
    }
}
