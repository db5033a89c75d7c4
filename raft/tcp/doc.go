// Package tcp is the transport of raft/node between processes: framed, checksummed
// messages over TCP, with mutual TLS.
//
//	transport, err := tcp.Listen(tcp.Options{
//		Listen: "10.0.0.1:7000",
//		TLS:    &tcp.TLS{CertFile: "host1.pem", KeyFile: "host1.key", CAFile: "ca.pem"},
//	})
//
// Every host dials every other host, and sends on that connection. A pair of hosts
// therefore has two connections, one for each direction. A connection begins with a
// handshake that compares cluster, hosts and protocol version. The dialling host
// sends pings on an idle connection, and closes a connection on which no pong comes
// back.
//
// # Authentication
//
// With TLS, a certificate names its host by a URI among the subject's alternative
// names, see [HostURI], or all hosts of a cluster, see [ClusterURI]. Both sides
// present a certificate of the CA. A host that claims another id than the
// certificate's is refused. Without TLS (Options.Plaintext) the hosts believe one
// another, so anybody with access to the port can pose as any host of the cluster.
//
// # Streams
//
// A service has messages of its own as a rule: a member forwards a client's request
// to the leader, and a new host asks to be added. [Transport.DialStream] opens a
// connection for such a protocol on the same port, with the same authentication.
// [Transport.Streams] is the net.Listener at the other end, for instance of a gRPC
// server.
//
// # Limits
//
// A host that sends garbage, a frame above [Options.MaxFrameBytes] or nothing at
// all costs the receiver one goroutine for [Options.HandshakeTimeout] or
// [Options.IdleTimeout], and memory for the bytes that have arrived. The number of
// connections is bounded. A host that is no member costs a goroutine more, which dials
// the host, until its connection ends. Messages beyond the bound of a peer's queue, and
// messages for a peer without a connection, are dropped. Raft sends them again.
package tcp
