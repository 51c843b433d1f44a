// Package fault is the one classification of what can go wrong between a client
// and its database. From the [Kind] of an [Error] follow the result label of the
// metrics, the level of the log line, and the code that an engine gives its client.
//
// Invariant: Message and Hint hold no secret, no account id and no internal path,
// because a client reads them. The cause, for the log, may name more.
//
// The package knows no wire protocol: the engines turn a Kind into SQLSTATEs and
// error numbers.
package fault
