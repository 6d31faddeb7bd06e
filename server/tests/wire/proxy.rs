//! nginx in front, which ends TLS and checks client certificates, as the guide's alternative says.

use std::fs;
use std::net::TcpListener;

use kernel::{Grant, Rights};
use server::{Access, Proxies};
use tokio::process::Command;

use crate::certificates::Pair;
use crate::stage::{Setting, Stage, until};

#[tokio::test]
async fn nginx_tells_whose_certificate_it_was() {
    let from = vec!["127.0.0.1".parse().expect("a network")];
    let access = Access {
        certificate: [Grant::everywhere(Rights::PUSH)].into(),
        proxies: Proxies { from, certificate: true, user: false },
        ..Access::default()
    };
    let stage = Stage::new(Setting { access, ..Setting::default() });
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    let (_, client) = (Pair::quick(path, "server", "localhost"), Pair::quick(path, "client", "client"));
    // Asked of the system and given back at once; nobody else takes it so soon.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let (hub, path_text) = (stage.address, path.display());
    let settings = "X-SSL-Client-Verify $ssl_client_verify;grpc_set_header X-SSL-Client-S-DN $ssl_client_s_dn;\
                    grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;grpc_set_header X-Forwarded-Proto https;";
    let configuration = format!(
        "daemon off; master_process off; pid {path_text}/pid; error_log stderr; events {{}} http {{ access_log off; \
         client_body_temp_path {path_text}/b; proxy_temp_path {path_text}/p; fastcgi_temp_path {path_text}/f; \
         uwsgi_temp_path {path_text}/u; scgi_temp_path {path_text}/s; \
         server {{ listen 127.0.0.1:{free} ssl http2; ssl_certificate server.crt; ssl_certificate_key server.key; \
         ssl_client_certificate client.crt; ssl_verify_client optional; \
         location / {{ grpc_pass grpc://{hub}; grpc_set_header {settings} }} }} }}"
    );
    fs::write(path.join("nginx.conf"), configuration).expect("it is written");
    let mut nginx = Command::new("nginx");
    let mut nginx =
        nginx.arg("-c").arg(path.join("nginx.conf")).kill_on_drop(true).spawn().expect("nginx is installed");
    let ask = async |with_certificate: bool| {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--http2", "-H", "X-SSL-Client-S-DN: CN=root", "--cacert", "server.crt"]).current_dir(path);
        if with_certificate {
            curl.arg("--cert").arg(&client.certificate).arg("--key").arg(&client.key);
        }
        let done = curl.arg(format!("https://localhost:{free}/test/who")).output().await.expect("curl is installed");
        String::from_utf8_lossy(&done.stdout).into_owned()
    };
    until("nginx answers", async || !ask(false).await.is_empty()).await;
    let said = ask(true).await;
    assert!(said.starts_with("cert:client [read,write,digest] from 127.0.0.1 https=true"), "{said}");
    let said = ask(false).await;
    assert!(said.starts_with("anonymous [] from 127.0.0.1 https=true"), "{said}");
    nginx.kill().await.expect("it ends");
}
