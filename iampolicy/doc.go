// Package iampolicy generates the IAM policies that a configuration needs: what each role
// must be allowed, and who may assume credproxy's own; and the policy of who rotates secrets.
//
// Invariant: a policy allows no more than the configuration asks for. What is not known
// stands in it as a placeholder, and [Generate] says which. The same
// configuration always gives the same text.
//
// The package reads no flags and prints nothing. Only [LookUp] asks AWS.
package iampolicy
