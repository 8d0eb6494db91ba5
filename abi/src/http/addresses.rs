//! Classes of IP addresses: on the public internet, on a private network, and neither: those of the link, of
//! cloud metadata services, of other protocols, and those that stand for other addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Class of an address, by the machines that can be behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AddressClass {
    /// Any server of the internet.
    Public,
    /// This machine, or one of the network it is in.
    Private,
    /// Nothing that a name should lead to.
    Special,
}

/// An IPv4 network: its first address, and the length of its prefix.
type Network4 = (Ipv4Addr, u32);

/// An IPv6 network: its first address, and the length of its prefix.
type Network6 = (Ipv6Addr, u32);

/// Special networks of IPv4, also those inside of a private or public network.
const SPECIAL4: &[Network4] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8), // this network; Linux takes it for this machine
    (Ipv4Addr::new(100, 100, 100, 200), 32), // metadata of Alibaba Cloud
    (Ipv4Addr::new(168, 63, 129, 16), 32), // services of Azure for its machines
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local, and the metadata of most clouds
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved, broadcast
];

const PRIVATE4: &[Network4] = &[
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10), // behind the NAT of a provider; also overlay networks
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
];

/// Special networks of IPv6 inside of the networks below.
const SPECIAL6: &[Network6] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: IPv4 addresses
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
    (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 32), // metadata of AWS
    (Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0), 32), // metadata of Google Cloud
];

const PRIVATE6: &[Network6] = &[(Ipv6Addr::LOCALHOST, 128), (Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7)];

/// All that is given out on the internet. The rest, IPv4 addresses in IPv6 among it, is special.
const PUBLIC6: Network6 = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

pub(super) fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => {
            let in_any = |networks: &[Network4]| networks.iter().any(|network| in4(address, *network));
            match () {
                () if in_any(SPECIAL4) => AddressClass::Special,
                () if in_any(PRIVATE4) => AddressClass::Private,
                () => AddressClass::Public,
            }
        }
        IpAddr::V6(address) => {
            let in_any = |networks: &[Network6]| networks.iter().any(|network| in6(address, *network));
            match () {
                () if in_any(SPECIAL6) => AddressClass::Special,
                () if in_any(PRIVATE6) => AddressClass::Private,
                () if in6(address, PUBLIC6) => AddressClass::Public,
                () => AddressClass::Special,
            }
        }
    }
}

fn in4(address: Ipv4Addr, (network, prefix): Network4) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

fn in6(address: Ipv6Addr, (network, prefix): Network6) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_last_addresses_of_networks_and_their_neighbours() {
        use AddressClass::{Private, Public, Special};
        let table = [
            (Public, "1.0.0.0 1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0"),
            (Public, "126.255.255.255 128.0.0.0 168.63.129.15 168.63.129.17 169.253.255.255 169.255.0.0"),
            (Public, "172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0"),
            (Public, "192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255"),
            (Private, "10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 100.100.100.199 127.0.0.1"),
            (Private, "127.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255"),
            (Special, "0.0.0.0 0.255.255.255 100.100.100.200 168.63.129.16 169.254.0.0 169.254.169.254"),
            (
                Special,
                "169.254.255.255 192.0.0.0 192.0.0.192 192.0.2.1 192.88.99.1 198.18.0.0 198.19.255.255",
            ),
            (Special, "198.51.100.1 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255"),
            (Public, "2000:: 2001:200:: 2001:db7:ffff:: 2001:db9:: 2003:: 2606:4700:4700::1111"),
            (Public, "2a00:1450::1 3ffe:ffff:: 3fff:1000:: 3fff:ffff::"),
            (Private, "::1 fc00:: fc00::1 fd00::1 fd00:ec1:: fd00:ec3:: fdff:ffff::"),
            (Special, ":: ::2 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::ffff:0:8.8.8.8"),
            (Special, "64:ff9b::1.1.1.1 64:ff9b::127.0.0.1 64:ff9b:1::1 100::1 1fff:ffff::"),
            (Special, "2001::1 2001:1ff:ffff:: 2001:db8::1 2002:7f00:1:: 2002:: 3fff:: 3fff:fff:ffff::"),
            (Special, "4000:: 5f00::1 fbff:: fd00:ec2::254 fd20:ce::254 fe00:: fe80::1 fec0::1 ff02::1"),
        ];
        for (expected, addresses) in table {
            for address in addresses.split(' ') {
                assert_eq!(classify(address.parse().unwrap()), expected, "{address}");
            }
        }
    }
}
