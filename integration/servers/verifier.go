package servers

import (
	"bufio"
	"io"
	"net"
	"strings"
	"sync"
)

// maxLogin caps what a login may hand to a verifier: PostgreSQL itself takes a
// password of up to 65,535 bytes.
const maxLogin = 128 << 10

// TokenVerifier decides about the logins of IAM users, in place of AWS. As on
// RDS, PostgreSQL has PAM check their tokens, and MySQL and MariaDB have the
// plugin AWSAuthenticationPlugin do it: ours pass user and token to the verifier,
// and the client sees what it would see on RDS.
// One verifier can serve many servers.
type TokenVerifier struct {
	listener net.Listener
	verify   func(user, token string) error
	logins   sync.WaitGroup
}

// StartTokenVerifier listens on loopback until Close. verify may be called
// concurrently; an error from it refuses the login.
func StartTokenVerifier(verify func(user, token string) error) (*TokenVerifier, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	v := &TokenVerifier{listener: l, verify: verify}
	v.logins.Go(v.accept)
	return v, nil
}

// Close stops listening and waits for the logins under way.
func (v *TokenVerifier) Close() error {
	err := v.listener.Close()
	v.logins.Wait()
	return err
}

// env tells a server's PAM script or plugin where to ask, as bash's /dev/tcp wants it.
func (v *TokenVerifier) env() string {
	return "CREDPROXY_TEST_VERIFIER=" + strings.Replace(v.listener.Addr().String(), ":", "/", 1)
}

func (v *TokenVerifier) accept() {
	for {
		conn, err := v.listener.Accept()
		if err != nil {
			return // closed
		}
		v.logins.Go(func() { v.login(conn) })
	}
}

// login answers one question: a line with the user, a line with the token.
func (v *TokenVerifier) login(conn net.Conn) {
	defer conn.Close()
	lines := bufio.NewReader(io.LimitReader(conn, maxLogin))
	user, err := lines.ReadString('\n')
	if err != nil {
		return
	}
	token, err := lines.ReadString('\n')
	if err != nil {
		return
	}
	answer := "ok\n"
	if v.verify(strings.TrimSuffix(user, "\n"), strings.TrimSuffix(token, "\n")) != nil {
		answer = "refused\n"
	}
	io.WriteString(conn, answer)
}
