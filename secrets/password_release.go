package secrets

import "fmt"

// Method is what an authentication method needs of a password.
type Method int

const (
	// SCRAM is the proof of SCRAM-SHA-256 (RFC 7677).
	SCRAM Method = iota
	// NativeScramble is the hash of mysql_native_password with the server's salt.
	NativeScramble
	// SHA2Scramble is the hash of caching_sha2_password with the server's salt.
	SHA2Scramble
	// Ed25519 is the signature of MariaDB's client_ed25519.
	Ed25519
	// MD5 is the hash of PostgreSQL's md5, which is soon guessed.
	MD5
	// Cleartext is the password itself: PostgreSQL's password, and
	// mysql_clear_password.
	Cleartext
	// SHA2Cleartext is the password itself, as sha256_password and the full
	// authentication of caching_sha2_password send it inside TLS.
	SHA2Cleartext
	// SHA2Encrypted is the password encrypted with the RSA key that the server names,
	// as these two send it without TLS.
	SHA2Encrypted
)

var methodNames = [...]string{"a SCRAM proof", "a scramble", "a scramble", "a signature", "an MD5 hash", "clear text", "clear text", "encrypted with the key that the server names"}

func (m Method) String() string { return methodNames[m] }

// Link is what is known of the connection to a database.
type Link int

const (
	NotEncrypted Link = iota
	Encrypted         // by TLS, but to whom nobody knows
	Verified          // TLS, and the far end has proved to be the database
)

func (l Link) String() string { return [...]string{"not encrypted", "encrypted", "verified"}[l] }

// CredentialKind is what a credential's secret is.
type CredentialKind int

const (
	Password CredentialKind = iota
	Token                   // of IAM: whoever has it logs in, until it expires
)

func (k CredentialKind) String() string { return [...]string{"password", "token"}[k] }

// Kind returns what the credential's secret is: what expires is a token.
func (c *Credential) Kind() CredentialKind {
	if c.Expires.IsZero() {
		return Password
	}
	return Token
}

// needs is the matrix of what may be released: the least that must be known of the
// link, by method and kind. docs/security.md has it for people, and a test goes through
// all of it.
//
// SCRAM and the scrambles tell neither the password nor what is soon guessed. What tells
// it goes out over verified links alone, but for the two methods of MySQL that know
// nothing else: a configuration with tls.mode require or disable has said so.
var needs = [...][2]Link{
	SCRAM:          {Password: NotEncrypted, Token: NotEncrypted},
	NativeScramble: {Password: NotEncrypted, Token: NotEncrypted},
	SHA2Scramble:   {Password: NotEncrypted, Token: NotEncrypted},
	Ed25519:        {Password: NotEncrypted, Token: NotEncrypted},
	MD5:            {Password: Verified, Token: Verified},
	Cleartext:      {Password: Verified, Token: Verified},
	SHA2Cleartext:  {Password: Encrypted, Token: Encrypted},
	SHA2Encrypted:  {Password: NotEncrypted, Token: NotEncrypted},
}

// ReleaseError is the refusal to use a credential over a link that is not fit for it.
type ReleaseError struct {
	Method Method
	Link   Link
	Kind   CredentialKind
}

func (e *ReleaseError) Error() string {
	return fmt.Sprintf("a %s may not be sent as %s over a link that is %s", e.Kind, e.Method, e.Link)
}

// Release is the one gate through which a password leaves a credential. It calls use
// with the password, and returns what that makes of it for method m, if the link is fit
// for it. Else the error is a *ReleaseError, and use is not called. use keeps nothing
// that tells the password.
func Release[T any](c *Credential, m Method, l Link, use func(password string) (T, error)) (T, error) {
	if l < needs[m][c.Kind()] {
		var none T
		return none, &ReleaseError{m, l, c.Kind()}
	}
	return use(c.reveal())
}
