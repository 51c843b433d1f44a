// Package daemon runs the databases of a configuration, from the start through reloads to
// the end of the drain.
//
// [Run] owns every goroutine and listener, and returns when the last one has ended. A
// database has three lifetimes, each within the next: while a configuration names it, its
// sessions, and what they need. Listeners are the daemon's, so that one can pass to the
// database that replaces its owner while clients wait in its queue.
//
// Invariant: a configuration with a mistake changes nothing. All that can fail for what
// the configuration says is done before anything changes.
//
// The package reads no flags and no configuration: it is given one, and the function that
// reads it again. It knows nothing of protocols, and decides nothing about credentials.
package daemon
