//! Brings up the loopback interface of a new network namespace, which is all the network an offline step has.

use std::io;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

const RTM_NEWLINK: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST_ACK: u16 = 1 | 4;
const IFF_UP: u32 = 1;
/// Every network namespace is born with it.
const LOOPBACK_INDEX: u32 = 1;

/// Brings it up; the kernel then gives it its addresses by itself.
///
/// # Errors
/// The kernel says no.
pub(crate) fn up() -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&socket, &request(), SendFlags::empty())?;
    let mut answer = [0; 256];
    let (_, length) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // A header of 16 bytes, its type at 4, then the negated error number.
    let (Some(kind), Some(code)) = (field(&answer[..length], 4), field(&answer[..length], 16)) else {
        return Err(io::ErrorKind::UnexpectedEof.into());
    };
    match i32::from_ne_bytes(code) {
        0 if u16::from_ne_bytes([kind[0], kind[1]]) == NLMSG_ERROR => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
    }
}

fn field(message: &[u8], at: usize) -> Option<[u8; 4]> {
    message.get(at..at.checked_add(4)?)?.try_into().ok()
}

/// A `nlmsghdr` and an `ifinfomsg`, 16 bytes each.
fn request() -> [u8; 32] {
    let mut message = [0; 32];
    message[0..4].copy_from_slice(&32_u32.to_ne_bytes());
    message[4..6].copy_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message[6..8].copy_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    message[20..24].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    message[24..28].copy_from_slice(&IFF_UP.to_ne_bytes());
    message[28..32].copy_from_slice(&IFF_UP.to_ne_bytes());
    message
}
