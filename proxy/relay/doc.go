// Package relay moves bytes between a client and its database, both ways, until
// both directions have ended: [Run].
//
// Invariants: bytes pass unchanged and in order; a direction in which nothing flows
// holds no buffer, and passing a message allocates nothing (beside what crypto/tls
// does itself); the end of one direction is passed on as a half-close; a panic in one
// relay ends that relay alone.
//
// The package knows no wire protocol. What must know one looks on from outside:
// [Leg.Scan] at what a client sends, a [Tap] at the last bytes that it was sent. It
// opens and closes no connection for good.
package relay
