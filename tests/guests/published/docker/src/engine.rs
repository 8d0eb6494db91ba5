//! The host functions of docker: the SDK 0.0.1 has their types, and leaves the functions to whoever wants them.
//! What is done with them is `lib`'s.

use hm_plugin_sdk::extism_pdk::*;
use hm_plugin_sdk::*;

#[host_fn]
extern "ExtismHost" {
    fn hm_docker_image_exists(tag: String) -> u32;
    fn hm_docker_pull(tag: String);
    fn hm_docker_start_container(args: Json<DockerStartArgs>) -> String;
    fn hm_docker_extract_workspace(args: Json<DockerExtractArgs>);
    fn hm_docker_exec(args: Json<DockerExecArgs>) -> i32;
    fn hm_docker_commit(args: Json<DockerCommitArgs>) -> String;
    fn hm_docker_stop_remove(container_id: String);
}

macro_rules! safe {
    ($(fn $name:ident($arg:ident: $ty:ty) -> $out:ty = $import:ident($given:expr);)*) => {$(
        pub(crate) fn $name($arg: $ty) -> Result<$out, PluginError> {
            // SAFETY: only offsets of Extism blocks cross, which the host checks.
            let answer = unsafe { $import($given) };
            answer.map_err(|error| PluginError::new("docker_failed", format!("{}: {error}", stringify!($name))))
        }
    )*};
}

safe! {
    fn image_exists(tag: &str) -> u32 = hm_docker_image_exists(tag.to_owned());
    fn pull(tag: &str) -> () = hm_docker_pull(tag.to_owned());
    fn start_container(args: DockerStartArgs) -> String = hm_docker_start_container(Json(args));
    fn extract_workspace(args: DockerExtractArgs) -> () = hm_docker_extract_workspace(Json(args));
    fn exec(args: DockerExecArgs) -> i32 = hm_docker_exec(Json(args));
    fn commit(args: DockerCommitArgs) -> String = hm_docker_commit(Json(args));
    fn stop_remove(container_id: &str) -> () = hm_docker_stop_remove(container_id.to_owned());
}
