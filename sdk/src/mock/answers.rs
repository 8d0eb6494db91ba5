//! The mock's answers: each host function on what a test has prepared, recording what it was given.

use hm_plugin_protocol::*;

use super::{Host, HostFunctions};

impl HostFunctions for Host {
    fn hm_log(&mut self, level: Level, msg: String) {
        self.logs.push((level, msg));
    }
    fn hm_emit_step_log(&mut self, stream: StdStream, bytes: Vec<u8>) {
        self.step_logs.push((stream, bytes));
    }
    fn hm_emit_event(&mut self, event: BuildEvent) {
        self.events.push(event);
    }
    fn hm_should_cancel(&mut self) -> bool {
        self.should_cancel
    }

    fn hm_kv_get(&mut self, scope: KvScope, key: String) -> Option<Vec<u8>> {
        let wanted = (scope, key);
        self.kv.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.clone())
    }
    fn hm_kv_set(&mut self, scope: KvScope, key: String, val: Vec<u8>) {
        let name = (scope, key);
        self.kv.retain(|(other, _)| *other != name);
        self.kv.push((name, val));
    }

    fn hm_archive_total_size(&mut self, _: ArchiveId) -> u64 {
        u64::try_from(self.archive.len()).unwrap_or(u64::MAX)
    }
    fn hm_archive_read(&mut self, args: ArchiveReadArgs) -> Vec<u8> {
        let length = self.archive.len();
        let start = usize::try_from(args.offset).map_or(length, |offset| offset.min(length));
        let end = usize::try_from(args.max).map_or(length, |max| start.saturating_add(max).min(length));
        self.archive[start..end].to_vec()
    }
    fn hm_fs_read_config(&mut self, rel_path: String) -> Option<Vec<u8>> {
        self.config_files.get(&rel_path).cloned()
    }

    fn hm_unix_socket_connect(&mut self, _: String) -> SocketHandle {
        SocketHandle(1)
    }
    fn hm_socket_write(&mut self, args: SocketWriteArgs) -> u64 {
        self.socket_written.extend_from_slice(&args.bytes);
        u64::try_from(args.bytes.len()).unwrap_or(u64::MAX)
    }
    fn hm_socket_read(&mut self, args: SocketReadArgs) -> Vec<u8> {
        let mut bytes = self.socket_reads.pop_front().unwrap_or_default();
        let max = usize::try_from(args.max).unwrap_or(usize::MAX);
        if bytes.len() > max {
            self.socket_reads.push_front(bytes.split_off(max));
        }
        bytes
    }
    fn hm_socket_close(&mut self, _: SocketHandle) {}

    fn hm_keyring_get(&mut self, args: KeyringArgs) -> Option<String> {
        self.keyring.get(&(args.service, args.account)).cloned()
    }
    fn hm_keyring_set(&mut self, args: KeyringSetArgs) {
        self.keyring.insert((args.service, args.account), args.secret);
    }
    fn hm_keyring_delete(&mut self, args: KeyringArgs) {
        self.keyring.remove(&(args.service, args.account));
    }

    fn hm_tty_prompt(&mut self, args: TtyPromptArgs) -> String {
        let Some(answer) = self.prompt_answers.pop_front() else {
            panic!("no answer was prepared for the prompt {:?}", args.msg)
        };
        answer
    }
    fn hm_tty_confirm(&mut self, args: TtyConfirmArgs) -> bool {
        self.confirm_answers.pop_front().unwrap_or(args.default)
    }
    fn hm_browser_open(&mut self, url: String) -> bool {
        self.opened_urls.push(url);
        self.browser_opens
    }
    fn hm_spawn_loopback(&mut self, port: Option<u16>) -> LoopbackHandle {
        LoopbackHandle(port.unwrap_or(49_152).into())
    }
    fn hm_loopback_recv(&mut self, _: LoopbackRecvArgs) -> Option<CallbackData> {
        self.callbacks.pop_front()
    }

    fn hm_write_stdout(&mut self, bytes: Vec<u8>) {
        self.stdout.extend(bytes);
    }
    fn hm_write_stderr(&mut self, bytes: Vec<u8>) {
        self.stderr.extend(bytes);
    }

    fn hm_docker_ping(&mut self) -> bool {
        self.docker_answers
    }
    fn hm_docker_image_exists(&mut self, tag: String) -> bool {
        self.images.contains(&tag)
    }
    fn hm_docker_pull(&mut self, tag: String) {
        self.pulled.push(tag.clone());
        self.images.push(tag);
    }
    fn hm_docker_start_container(&mut self, args: DockerStartArgs) -> String {
        self.containers.push(args);
        format!("container-{}", self.containers.len() - 1)
    }
    fn hm_docker_extract_workspace(&mut self, args: DockerExtractArgs) {
        self.docker_extracts.push(args);
    }
    fn hm_docker_exec(&mut self, args: DockerExecArgs) -> i32 {
        self.docker_execs.push(args);
        self.exit_codes.pop_front().unwrap_or(0)
    }
    fn hm_docker_artifacts(&mut self, args: DockerArtifactsArgs) -> Option<Vec<ArtifactRef>> {
        self.docker_artifact_calls.push(args);
        (!self.artifacts_fail).then(|| self.artifacts.clone())
    }
    fn hm_docker_commit(&mut self, args: DockerCommitArgs) -> String {
        self.images.push(args.tag.clone());
        args.tag
    }
    fn hm_docker_remove_image(&mut self, tag: String) {
        self.images.retain(|image| *image != tag);
    }
    fn hm_docker_stop_remove(&mut self, container_id: String) {
        self.removed_containers.push(container_id);
    }

    fn hm_sandbox_start(&mut self, args: SandboxStartArgs) -> String {
        self.sandboxes.push(args);
        format!("sandbox-{}", self.sandboxes.len() - 1)
    }
    fn hm_sandbox_exec(&mut self, args: SandboxExecArgs) -> i32 {
        self.sandbox_execs.push(args);
        self.exit_codes.pop_front().unwrap_or(0)
    }
    fn hm_sandbox_artifacts(&mut self, args: SandboxArtifactsArgs) -> Option<Vec<ArtifactRef>> {
        self.artifact_calls.push(args);
        (!self.artifacts_fail).then(|| self.artifacts.clone())
    }
    fn hm_sandbox_commit(&mut self, args: SandboxCommitArgs) -> SnapshotRef {
        let unnamed = || SnapshotRef(format!("layer-of-{}", args.sandbox_id));
        let snapshot = args.keep_as.clone().unwrap_or_else(unnamed);
        self.snapshots.push(snapshot.clone());
        snapshot
    }
    fn hm_sandbox_discard(&mut self, sandbox_id: String) {
        self.discarded.push(sandbox_id);
    }
    fn hm_sandbox_exists(&mut self, snapshot: SnapshotRef) -> bool {
        self.snapshots.contains(&snapshot)
    }
}
