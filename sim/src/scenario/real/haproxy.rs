//! The real proxy: HAProxy, told to do what a `proxy` line says.

use std::fmt::Write as _;

use quorate::base::io::HostPort;

use crate::proxy::ProxyConfig;

/// HAProxy's configuration file. `resolve` gives a host's address.
pub fn configuration(config: &ProxyConfig, resolve: impl Fn(&str) -> String) -> String {
    let ProxyConfig { port, balance, servers, inter, rise, fall } = config;
    // No timeout ends what is only quiet: a line of the file does, or the servers.
    let mut out = format!(
        "global\n\
         \x20 log stdout format raw local0\n\
         defaults\n\
         \x20 mode tcp\n\
         \x20 timeout connect 5s\n\
         \x20 timeout client 1h\n\
         \x20 timeout server 1h\n\
         \x20 retries 3\n\
         \x20 option redispatch 1\n\
         listen proxy\n\
         \x20 bind :{port}\n\
         \x20 balance {}\n\
         \x20 option tcp-check\n\
         \x20 tcp-check send PING\\r\\n\n\
         \x20 tcp-check expect rstring ^.(PONG|NOAUTH)\n\
         \x20 default-server inter {}ms rise {rise} fall {fall}\n",
        balance.name(),
        inter.as_ms(),
    );
    for (number, HostPort { host, port }) in servers.iter().enumerate() {
        let _ = writeln!(out, "  server server{number} {}:{port} check", resolve(host));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_s_words_are_haproxy_s() {
        let words = "--port 7000 --balance first --server a:1 --server b:2 --inter 500ms --fall 4";
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let config = ProxyConfig::from_words(&words).unwrap();
        let text = configuration(&config, |name| format!("address-of-{name}"));
        for line in [
            "  bind :7000\n",
            "  balance first\n",
            "  tcp-check send PING\\r\\n\n",
            "  default-server inter 500ms rise 2 fall 4\n",
            "  server server0 address-of-a:1 check\n  server server1 address-of-b:2 check\n",
        ] {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
    }
}
