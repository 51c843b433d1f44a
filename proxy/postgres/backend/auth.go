package backend

import (
	"crypto/md5"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgproto3/v2"
	"github.com/xdg-go/scram"

	"github.com/credproxy/credproxy/proxy/fault"
	"github.com/credproxy/credproxy/proxy/postgres/wire"
	"github.com/credproxy/credproxy/secrets"
)

const (
	mechScram     = "SCRAM-SHA-256"
	mechScramPlus = "SCRAM-SHA-256-PLUS"

	MethodMD5       = "md5"
	methodCleartext = "password" // pg_hba.conf's name
)

// authenticator answers the authentication requests of one login.
type authenticator struct {
	cred *secrets.Credential
	tls  *tls.ConnectionState // nil without TLS
	link secrets.Link
	keys *ScramKeys

	conv   *scram.ClientConversation // once SCRAM has begun
	method string                    // for the log: a mechanism, or one of the names below
}

// answer returns the reply to one authentication request, nil for one that wants
// none. done says that the database is satisfied.
func (a *authenticator) answer(m wire.Message) (reply []byte, done bool, err error) {
	body := m.Body()
	if len(body) < 4 {
		return nil, false, Broken("an authentication request without a code", nil)
	}
	code := binary.BigEndian.Uint32(body)
	if a.conv != nil && code != pgproto3.AuthTypeSASLContinue && code != pgproto3.AuthTypeSASLFinal && code != pgproto3.AuthTypeOk {
		return nil, false, Broken("another authentication request in the middle of SCRAM", nil)
	}
	switch code {
	case pgproto3.AuthTypeOk:
		return nil, true, a.finish()
	case pgproto3.AuthTypeCleartextPassword:
		reply, err = a.cleartext()
	case pgproto3.AuthTypeMD5Password:
		reply, err = a.md5(body)
	case pgproto3.AuthTypeSASL:
		reply, err = a.saslStart(body[4:])
	case pgproto3.AuthTypeSASLContinue:
		reply, err = a.saslContinue(body[4:])
	case pgproto3.AuthTypeSASLFinal:
		err = a.saslFinal(body[4:])
	default:
		err = unsupported(fmt.Sprintf("authentication method %s", methodName(code)))
	}
	return reply, false, err
}

// methodName names the requests that credproxy has no answer to.
func methodName(code uint32) string {
	switch code {
	case 2:
		return "Kerberos V5"
	case 6:
		return "SCM credential"
	case 7:
		return "GSSAPI"
	case 9:
		return "SSPI"
	}
	return strconv.FormatUint(uint64(code), 10)
}

func unsupported(what string) error {
	return &fault.Error{Kind: fault.UpstreamAuth,
		Message: "the database asks for " + what + ", which credproxy cannot do",
		Hint:    "Let the database ask for scram-sha-256 (pg_hba.conf), or grant rds_iam to the user."}
}

// finish checks that the database may say that all is well now: with SCRAM under
// way, only after it has proved that it knows the password too.
func (a *authenticator) finish() error {
	if a.conv != nil && !a.conv.Valid() {
		return Broken("the database ended SCRAM without proving that it knows the password", nil)
	}
	return nil
}

// end forgets the keys that were derived for a server that did not prove that it knows the
// password, whatever it did instead: each of its salts would be kept.
func (a *authenticator) end() {
	if a.conv != nil && !a.conv.Valid() {
		a.keys.forget(a.cred)
	}
}

// unfit makes an error of the refusal to release the password, which would tell it to
// whoever sits in the middle.
func unfit(err error, what string) error {
	if _, ok := errors.AsType[*secrets.ReleaseError](err); !ok {
		return err
	}
	return &fault.Error{Kind: fault.UpstreamAuth,
		Message: "the database asks for the password " + what + ", and the link to it is not verified TLS; the password was not sent",
		Hint:    "Set tls.mode to verify-full for this database in the configuration of credproxy."}
}

func (a *authenticator) cleartext() ([]byte, error) {
	a.method = methodCleartext
	reply, err := secrets.Release(a.cred, secrets.Cleartext, a.link, func(password string) ([]byte, error) {
		return (&pgproto3.PasswordMessage{Password: password}).Encode(nil)
	})
	return reply, unfit(err, "in clear text")
}

// md5 hashes as the server does: md5(md5(password + user) + salt).
func (a *authenticator) md5(body []byte) ([]byte, error) {
	var req pgproto3.AuthenticationMD5Password
	if err := req.Decode(body); err != nil {
		return nil, Broken("an MD5 request that cannot be read", err)
	}
	a.method = MethodMD5
	reply, err := secrets.Release(a.cred, secrets.MD5, a.link, func(password string) ([]byte, error) {
		inner := md5.Sum([]byte(password + a.cred.Username))
		outer := md5.Sum(append([]byte(hex.EncodeToString(inner[:])), req.Salt[:]...))
		return (&pgproto3.PasswordMessage{Password: "md5" + hex.EncodeToString(outer[:])}).Encode(nil)
	})
	return reply, unfit(err, "as an MD5 hash")
}

// saslStart picks a mechanism and begins (RFC 5802, 7677; section "SASL
// Authentication"). With TLS and -PLUS on offer the login is bound to the
// server's certificate (RFC 5929, tls-server-end-point).
func (a *authenticator) saslStart(list []byte) ([]byte, error) {
	offered, err := wire.ParseMechanisms(list)
	if err != nil {
		return nil, Broken("a list of SASL mechanisms that cannot be read", err)
	}
	var plain, plus bool
	for _, m := range offered {
		plain = plain || m == mechScram
		plus = plus || m == mechScramPlus
	}
	if !plain && !plus {
		return nil, unsupported("one of the SASL mechanisms " + strings.Join(offered, ", "))
	}
	client, err := a.keys.client(a.cred, a.link)
	if err != nil {
		return nil, unfit(err, "as a SCRAM proof")
	}
	mechanism := mechScram
	switch {
	case a.tls == nil:
		a.conv = client.NewConversation()
	case !plus:
		a.conv = client.NewConversationAdvertisingChannelBinding()
	default:
		binding, err := scram.NewTLSServerEndpointBinding(a.tls)
		if err == nil {
			mechanism, a.conv = mechScramPlus, client.NewConversationWithChannelBinding(binding)
		} else if plain {
			// A certificate whose signature names no hash (Ed25519): the RFC
			// defines no binding, and "y" would read as a downgrade.
			a.conv = client.NewConversation()
		} else {
			return nil, unsupported("channel binding with a certificate that has none")
		}
	}
	a.method = mechanism
	first, err := a.conv.Step("")
	if err != nil {
		return nil, fmt.Errorf("begin scram: %w", err)
	}
	return (&pgproto3.SASLInitialResponse{AuthMechanism: mechanism, Data: []byte(first)}).Encode(nil)
}

func (a *authenticator) saslContinue(challenge []byte) ([]byte, error) {
	if a.conv == nil {
		return nil, Broken("a SCRAM challenge out of turn", nil)
	}
	if err := wire.CheckChallenge(challenge, a.link.Protection == secrets.Verified); err != nil {
		return nil, Broken("a SCRAM challenge that is not acceptable", err)
	}
	reply, err := a.conv.Step(string(challenge))
	if err != nil {
		return nil, Broken("a SCRAM challenge that is not acceptable", err)
	}
	return (&pgproto3.SASLResponse{Data: []byte(reply)}).Encode(nil)
}

func (a *authenticator) saslFinal(proof []byte) error {
	if a.conv == nil || len(proof) > wire.MaxScramMessage {
		return Broken("a SCRAM proof out of turn", nil)
	}
	if _, err := a.conv.Step(string(proof)); err != nil || !a.conv.Valid() {
		return Broken("the database does not prove that it knows the password", err)
	}
	return nil
}

// ScramKeys keeps one SCRAM client per credential: it caches the derived keys, which
// saves 4,096 rounds of hashing per login. The zero ScramKeys is ready. It is safe for
// concurrent use.
type ScramKeys struct {
	mu      sync.Mutex
	clients map[*secrets.Credential]*scram.Client
}

// maxScramClients is more than the versions of a secret that are in use at once.
const maxScramClients = 8

// client returns the SCRAM client of cred, for a link that is fit for it.
func (k *ScramKeys) client(cred *secrets.Credential, link secrets.Link) (*scram.Client, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return secrets.Release(cred, secrets.SCRAM, link, func(password string) (*scram.Client, error) {
		if c := k.clients[cred]; c != nil {
			return c, nil
		}
		// The server takes the user from the startup packet and ignores this one,
		// which libpq leaves empty too.
		c, err := scram.SHA256.NewClientUnprepped("", saslprep(password), "")
		if err != nil {
			return nil, fmt.Errorf("begin scram: %w", err)
		}
		if k.clients == nil || len(k.clients) >= maxScramClients {
			k.clients = map[*secrets.Credential]*scram.Client{}
		}
		k.clients[cred] = c.WithMinIterations(1) // wire.CheckChallenge looks at them
		return k.clients[cred], nil
	})
}

// forget drops the keys derived for cred.
func (k *ScramKeys) forget(cred *secrets.Credential) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.clients, cred)
}
