//! Who has to log in, what a wrong password is told, and what an anonymous caller is never asked.

use reqwest::Method;
use suite::clients::{Station, as_root, installed};
use suite::layout::Layout;

use crate::stage::{Access, PASSWORD, Stage, USER, block};

fn stage(access: Access) -> Option<Stage> {
    let needed = ["skopeo", "podman", "runc", "busybox", "htpasswd", "openssl", "nginx"];
    (installed(&needed) && as_root()).then(|| Stage::new(access))
}

/// Right and wrong passwords, a push before and after.
fn logs_in_and_out(station: &Station, tool: &str, address: &str, push: &str) {
    station.run(push).fails().says("unauthorized");
    let wrong = station.run(&format!("{tool} login -u {USER} -p wrong {address}")).fails();
    assert!(
        ["invalid username/password", "these credentials are wrong"].iter().any(|words| wrong.text().contains(words)),
        "{tool}: {}",
        wrong.text()
    );
    station.run(&format!("{tool} login -u nobody -p {PASSWORD} {address}")).fails();
    station.run(push).fails().says("unauthorized");
    station.run(&format!("{tool} login -u {USER} -p {PASSWORD} {address}")).ok().says("Login Succeeded");
    station.run(push).ok();
    station.run(&format!("{tool} logout {address}")).ok();
    station.run(push).fails().says("unauthorized");
}

#[test]
fn passwords_are_checked_at_login() {
    for access in [Access::Users, Access::Public] {
        let Some(stage) = stage(access) else { return };
        let image = Layout::busybox("login");
        for door in &stage.doors {
            let (station, address) = (&stage.station, &door.address);
            let from = format!("oci:{}:1", image.path().display());
            let push = format!("skopeo copy -q {from} docker://{address}/login/skopeo:1");
            logs_in_and_out(station, "skopeo", address, &push);
            station.podman_has(&image, &format!("{address}/login/podman:1"));
            logs_in_and_out(station, "podman", address, &format!("podman push -q {address}/login/podman:1"));
        }
    }
}

#[test]
fn docker_s_passwords_are_checked_at_login() {
    for access in [Access::Users, Access::Public] {
        if !installed(&["docker", "dockerd"]) {
            return;
        }
        let Some(mut stage) = stage(access) else { return };
        if !stage.station.docker() {
            return;
        }
        let image = Layout::busybox("login");
        let from = image.path().display();
        let lines = format!("skopeo copy oci:{from}:1 docker-archive:i.tar:image:1 && docker load -i i.tar");
        stage.station.run(&lines).ok();
        for door in &stage.doors {
            let reference = format!("{}/login/docker:1", door.address);
            stage.station.run(&format!("docker tag image:1 {reference}")).ok();
            logs_in_and_out(&stage.station, "docker", &door.address, &format!("docker push {reference}"));
        }
    }
}

/// Clients show what they know only to a registry that asks at `/v2/`; what anybody may pull is given without asking.
#[test]
fn anonymous_pulls_are_never_challenged() {
    let Some(stage) = stage(Access::Public) else { return };
    let (api, image) = (stage.api(), Layout::small("public"));
    block(async { api.push("public", Some("1"), &image).await }).expect("a push");
    let nobody = suite::clients::Api::new(&format!("http://{}", stage.plain()));
    assert_eq!(block(async { nobody.pull("public", "1").await }).expect("a pull"), image.digest());
    let asked = block(async { nobody.ask(Method::GET, "/v2/").send().await }).expect("an answer");
    assert_eq!(asked.status(), 401);
    let challenge = asked.headers()["www-authenticate"].to_str().expect("text").to_owned();
    assert!(challenge.starts_with("Bearer realm=\"http://localhost:"), "{challenge}");
    // A look at what is not there is a challenge: containerd's push would show no credentials later. Who has shown
    // anything, such as an anonymous token, is told that it is not there; and a pull is not asked.
    let status = |method: Method, path: &'static str, bearer: Option<&str>| {
        let request = nobody.ask(method, path);
        let request = bearer.iter().fold(request, |request, token| request.bearer_auth(token));
        block(async { request.send().await }).expect("an answer").status().as_u16()
    };
    let token = block(async { nobody.get("/v2/token?scope=repository:absent:pull").await }).expect("a token").1;
    let token: serde_json::Value = serde_json::from_slice(&token).expect("JSON");
    let token = token["token"].as_str().expect("a token");
    for path in ["absent/manifests/1", "public/manifests/2"] {
        assert_eq!(status(Method::HEAD, path, None), 401, "{path}");
    }
    assert_eq!(status(Method::HEAD, "public/manifests/1", None), 200);
    assert_eq!(status(Method::GET, "public/manifests/2", None), 404);
    let token = Some(token);
    assert!([404, 502].contains(&status(Method::HEAD, "absent/manifests/1", token)), "or what its upstream says");
    let open = Stage::new(Access::Open);
    let nobody = suite::clients::Api::new(&format!("http://{}", open.plain()));
    let asked = block(async { nobody.ask(Method::GET, "/v2/").send().await }).expect("an answer");
    assert_eq!((asked.status().as_u16(), asked.headers().get("www-authenticate")), (200, None));
}

/// Behind a proxy that ends TLS, tokens are fetched at the name that clients know.
#[test]
fn the_realm_is_where_clients_came_in() {
    if !installed(&["curl"]) {
        return;
    }
    let Some(stage) = stage(Access::Users) else { return };
    for door in &stage.doors {
        let scheme = if door.tls { "https" } else { "http" };
        let authority = stage.authority.file("ca.crt");
        let asked = format!("curl -sS --cacert {authority} -D - {scheme}://{}/v2/", door.address);
        let realm = format!("realm=\"{scheme}://{}/v2/token\",service=\"{}\"", door.address, door.address);
        stage.station.run(&asked).ok().says(&realm);
    }
    // Who is no proxy is not believed.
    let lines = format!(
        "curl -sS -D - -H 'X-Forwarded-Proto: https' -H 'X-Forwarded-Host: evil.example' http://{}/v2/",
        stage.plain()
    );
    stage.station.run(&lines).ok().says_not("evil.example");
}
