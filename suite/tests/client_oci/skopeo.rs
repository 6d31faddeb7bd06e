//! skopeo, and umoci, which makes and unpacks what skopeo carries.

use suite::clients::{as_root, installed};
use suite::layout::Layout;

use crate::stage::{Access, PASSWORD, Stage, USER};

#[test]
fn skopeo_pushes_and_pulls_through_every_door() {
    if !(installed(&["skopeo", "busybox", "htpasswd", "openssl", "nginx"]) && as_root()) {
        return;
    }
    for access in [Access::Open, Access::Users, Access::Public] {
        let stage = Stage::new(access);
        let image = Layout::busybox("skopeo");
        for door in stage.doors.clone() {
            let (name, address) = (door.name, &door.address);
            let reference = format!("docker://{address}/skopeo/{name}:1");
            if stage.logs_in() {
                stage.station.run(&format!("skopeo login -u {USER} -p {PASSWORD} {address}")).ok();
            }
            let from = format!("oci:{}:1", image.path().display());
            stage.station.run(&format!("skopeo copy --preserve-digests {from} {reference}")).ok();
            assert_eq!(stage.digest(&format!("skopeo/{name}"), "1"), image.digest());
            if access == Access::Public {
                stage.station.run(&format!("skopeo logout {address}")).ok();
            }
            stage.station.run(&format!("skopeo inspect {reference}")).ok().says(&image.digest());
            let copy = format!("skopeo copy --preserve-digests {reference} oci:copy-{name}:1");
            stage.station.run(&copy).ok();
            let index = stage.station.run(&format!("cat copy-{name}/index.json")).ok();
            index.says(&image.digest());
        }
    }
}

#[test]
fn umoci_unpacks_what_it_packed() {
    if !(installed(&["umoci", "skopeo", "busybox", "htpasswd", "openssl", "nginx"]) && as_root()) {
        return;
    }
    let stage = Stage::new(Access::Users);
    for door in &stage.doors {
        let address = &door.address;
        let lines = format!(
            "rm -rf made pulled bundle && echo 'from a file' >some.txt
             umoci init --layout made && umoci new --image made:1
             umoci insert --image made:1 some.txt /etc/some.txt
             umoci config --image made:1 --config.cmd /bin/true
             skopeo login -u {USER} -p {PASSWORD} {address}
             skopeo copy oci:made:1 docker://{address}/umoci/image:1
             skopeo copy docker://{address}/umoci/image:1 oci:pulled:1
             umoci unpack --image pulled:1 bundle && cat bundle/rootfs/etc/some.txt"
        );
        stage.station.run(&lines).ok().says("from a file");
    }
}
