// Package awsstub is the part of AWS that credproxy talks to, as an HTTP server on localhost: Secrets Manager with the
// events it sends, SQS, STS, what RDS says of its databases, the container credential endpoint, the instance metadata service (IMDSv2), and the verifier
// that RDS applies to an IAM database token. Tests and the demo start it with [Start]; cmd/awsstub starts it by hand.
//
// It holds three things true. Every request that AWS would want signed is checked for real: key, session token, clock
// skew, scope, signed headers, payload and signature, computed again from what arrived. Staging labels move as Secrets
// Manager moves them, so each state a rotation passes through can be reached and held. Errors have the codes, statuses
// and wire shapes of AWS, and its texts where those are known, so that a test exercises a client's own error handling.
//
// It has no Lambda: whoever wants a rotation function to run hands it to [Server.OnRotate]. It does not keep anything on
// disk, page long answers, or encrypt. What a principal may do is a function of the test's, which [AllowPolicy] makes of
// a policy document. It has one account and one region.
package awsstub
