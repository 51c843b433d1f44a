package mysql

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	"github.com/go-mysql-org/go-mysql/mysql"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/secrets"
)

const (
	// maxAuthSwitches caps how often a database may change its mind about the
	// plugin. Servers do it once.
	maxAuthSwitches = 4
	// maxAuthSteps caps the packets of one login. The longest real one has six.
	maxAuthSteps = 16

	requestPublicKeySHA2   = 2 // caching_sha2_password
	requestPublicKeySHA256 = 1 // sha256_password
	nextFactor             = 2 // AuthNextFactor's first byte
)

// authenticator answers a database's authentication packets in one login or
// COM_CHANGE_USER (page "Authentication Method").
type authenticator struct {
	cred     *secrets.Credential
	tls      bool // the link is encrypted
	verified bool // and the far end is known to be the database

	plugin   string
	salt     []byte
	switches int
	wantKey  bool // the public key was asked for
}

// start returns the answer that goes with the handshake response, for the plugin
// that the greeting names.
func (a *authenticator) start(plugin string, salt []byte) []byte {
	a.plugin, a.salt = plugin, salt
	if plugin != mysql.AUTH_CACHING_SHA2_PASSWORD {
		// The user's own plugin may well be another: the database will say.
		a.plugin = mysql.AUTH_NATIVE_PASSWORD
	}
	return a.scramble()
}

// answer returns the reply to one packet; nil if it wants none. done says that
// the packet is the database's OK.
func (a *authenticator) answer(payload []byte) (reply []byte, done bool, err error) {
	if len(payload) == 0 {
		return nil, false, broken("an empty packet", nil)
	}
	switch payload[0] {
	case mysql.OK_HEADER:
		return nil, true, nil
	case mysql.ERR_HEADER:
		return nil, false, refusal(payload, a.cred)
	case mysql.EOF_HEADER:
		reply, err = a.switchTo(payload[1:])
	case mysql.MORE_DATE_HEADER:
		reply, err = a.more(payload[1:])
	case nextFactor:
		err = unsupported("a second factor of authentication")
	default:
		err = broken(fmt.Sprintf("packet %#02x out of turn", payload[0]), nil)
	}
	return reply, false, err
}

func unsupported(what string) error {
	return &fault.Error{Kind: fault.UpstreamAuth,
		Message: "the database asks for " + what + ", which credproxy cannot do",
		Hint:    "Let the user log in with caching_sha2_password, mysql_native_password, ed25519, or IAM."}
}

// switchTo answers an AuthSwitchRequest (page "Protocol::AuthSwitchRequest").
func (a *authenticator) switchTo(b []byte) ([]byte, error) {
	if a.switches++; a.switches > maxAuthSwitches {
		return nil, broken("endless changes of the authentication plugin", nil)
	}
	if len(b) == 0 {
		return nil, unsupported("the authentication plugin " + mysql.AUTH_MYSQL_OLD_PASSWORD)
	}
	f := fields{b: b}
	a.plugin, a.wantKey = f.text(), false
	a.salt = f.b
	switch a.plugin {
	case mysql.AUTH_NATIVE_PASSWORD, mysql.AUTH_CACHING_SHA2_PASSWORD, mysql.AUTH_SHA256_PASSWORD:
		// A NUL ends these salts on the wire and is no part of them.
		if a.salt = bytes.TrimSuffix(a.salt, []byte{0}); len(a.salt) != saltSize {
			return nil, broken(fmt.Sprintf("a salt of %d bytes", len(a.salt)), nil)
		}
	}
	switch a.plugin {
	case mysql.AUTH_NATIVE_PASSWORD, mysql.AUTH_CACHING_SHA2_PASSWORD:
		return a.scramble(), nil
	case mysql.AUTH_SHA256_PASSWORD:
		return a.sha256()
	case mysql.AUTH_CLEAR_PASSWORD:
		return a.clear()
	case mysql.AUTH_MARIADB_ED25519:
		reply, err := mysql.CalcEd25519Password(a.salt, a.cred.Password())
		if err != nil {
			return nil, fmt.Errorf("sign for client_ed25519: %w", err)
		}
		return reply, nil
	}
	return nil, unsupported(fmt.Sprintf("the authentication plugin %q", fault.Clip(a.plugin)))
}

// scramble hashes the password with the salt.
func (a *authenticator) scramble() []byte {
	password := []byte(a.cred.Password())
	if a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD {
		return mysql.CalcCachingSha2Password(a.salt, password)
	}
	return mysql.CalcNativePassword(a.salt, password)
}

// clear sends the password as it is, as IAM demands.
func (a *authenticator) clear() ([]byte, error) {
	if !a.tls || !a.verified {
		return nil, &fault.Error{Kind: fault.UpstreamAuth,
			Message: "the database asks for the password in clear text, and the link to it is not verified TLS; the password was not sent",
			Hint:    "Set tls.mode to verify-full for this database in the configuration of credproxy."}
	}
	return append([]byte(a.cred.Password()), 0), nil
}

// sha256 sends the password inside TLS, or else asks for a key to encrypt it with
// (page "SHA-256 Pluggable Authentication").
func (a *authenticator) sha256() ([]byte, error) {
	if a.tls {
		return append([]byte(a.cred.Password()), 0), nil
	}
	a.wantKey = true
	return []byte{requestPublicKeySHA256}, nil
}

// more answers an AuthMoreData packet.
func (a *authenticator) more(b []byte) ([]byte, error) {
	switch {
	case a.wantKey:
		a.wantKey = false
		return a.encrypt(b)
	case a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD && len(b) == 1 && b[0] == mysql.CACHE_SHA2_FAST_AUTH:
		return nil, nil // the OK follows
	case a.plugin == mysql.AUTH_CACHING_SHA2_PASSWORD && len(b) == 1 && b[0] == mysql.CACHE_SHA2_FULL_AUTH:
		// The database has not seen this user since it started: it needs the
		// password itself (page "Caching SHA-2 Pluggable Authentication").
		if a.tls {
			return append([]byte(a.cred.Password()), 0), nil
		}
		a.wantKey = true
		return []byte{requestPublicKeySHA2}, nil
	}
	return nil, broken("authentication data out of turn", nil)
}

// encrypt encrypts the password with the database's public key (RSA-OAEP).
func (a *authenticator) encrypt(key []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil {
		return nil, broken("a public key that is not PEM", nil)
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, broken("a public key that cannot be read", err)
	}
	pub, ok := parsed.(*rsa.PublicKey)
	if !ok || pub.Size() < 256 || pub.Size() > 2048 {
		return nil, broken("a public key that is not RSA of 2,048 to 16,384 bits", nil)
	}
	reply, err := mysql.EncryptPassword(a.cred.Password(), a.salt, pub)
	if err != nil {
		return nil, broken("encrypting the password", errors.New("it is too long for the key"))
	}
	return reply, nil
}

// run exchanges packets until the database says OK, and returns that packet.
func (a *authenticator) run(c *packetConn) (ok []byte, err error) {
	for range maxAuthSteps {
		payload, err := c.read()
		if err != nil {
			return nil, broken("waiting for the database's answer", err)
		}
		reply, done, err := a.answer(payload)
		if done || err != nil {
			return payload, err
		}
		if reply == nil {
			continue
		}
		if err := c.write(reply); err != nil {
			return nil, broken("answering the database", err)
		}
	}
	return nil, broken("an endless authentication", nil)
}
