//! The registry with the clients that people use: skopeo, podman, buildah, docker, containerd, umoci, oras.

mod containerd;
mod crash;
mod docker;
mod guides;
mod kinds;
mod login;
mod mounts;
mod oras;
mod podman;
mod races;
mod skopeo;
mod stage;
mod strangers;
mod tags;
