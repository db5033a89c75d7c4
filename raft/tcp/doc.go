// Package tcp is the transport of raft/node between processes: framed, checksummed
// messages over TCP, with mutual TLS.
//
//	transport, err := tcp.Listen(tcp.Options{
//		Listen: "10.0.0.1:7000",
//		TLS:    &tcp.TLS{CertFile: "host1.pem", KeyFile: "host1.key", CAFile: "ca.pem"},
//	})
//
// Every host dials every other host, and sends on the connection that it dialled.
// A pair of hosts therefore has two connections, one for each direction. A
// connection begins with a handshake that compares cluster, hosts and protocol
// version. The dialling host sends pings on an idle connection, and closes a
// connection on which no pong comes back.
//
// # Who is who
//
// With TLS, a certificate names its host by a URI among the subject's alternative
// names, see [HostURI]. Both sides present a certificate that the CA has signed, and
// a host that claims another id than the certificate's is refused. Without TLS
// (Options.Plaintext) the hosts believe one another: everybody who reaches the
// port can be any host of the cluster.
//
// # Limits
//
// A host that sends garbage, a frame above [Options.MaxFrameBytes] or nothing at
// all costs the receiver one goroutine for [Options.HandshakeTimeout] or
// [Options.IdleTimeout], and no more memory than has arrived. The number of
// connections is bounded. Messages that do not fit a peer's queue, or that are for
// a peer without connection, are dropped; Raft sends again what matters.
package tcp
