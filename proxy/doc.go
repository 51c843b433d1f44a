// Package proxy is what all database engines share: listening, accepting,
// limits, the identity of clients, dialling the database over verified TLS,
// and draining.
//
// Data goes one way: accept → request → login → relay. [Server] accepts and owns
// every goroutine; an [Engine] (packages proxy/postgres and proxy/mysql) reads
// the request and logs in; [relay.Run] moves bytes until both sides are done.
//
// Invariants: one bad connection harms only itself; no listener stops because of
// a failed accept; a server that has shut down has no goroutine left.
//
// The package knows no wire protocol and never looks into relayed bytes.
package proxy
