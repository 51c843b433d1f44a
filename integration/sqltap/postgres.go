package sqltap

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

const (
	sslRequest    = 80877103
	protocolMajor = 3
)

// postgres has both sides agree on TLS and passes the startup message on.
func (t *Tap) postgres(s *session, client, server net.Conn) error {
	request := make([]byte, 8)
	if _, err := io.ReadFull(client, request); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(request[4:]) != sslRequest {
		return errors.New("the client does not ask for TLS")
	}
	if _, err := server.Write(request); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if _, err := io.ReadFull(server, answer); err != nil {
		return err
	}
	if _, err := client.Write(answer); err != nil || answer[0] != 'S' {
		return fmt.Errorf("the server does not speak TLS: %w", err)
	}
	if err := s.secure(client, server); err != nil {
		return err
	}
	startup, err := readBody(s.client, nil)
	if err != nil {
		return err
	}
	s.answers = func() error { return s.postgresAnswers(bufio.NewReader(s.server)) }
	s.requests = func() error { return s.postgresRequests(bufio.NewReader(s.client)) }
	if binary.BigEndian.Uint16(startup[4:]) == protocolMajor { // else it asks to cancel a statement
		s.user = parameter(startup[8:], "user")
		if err := s.before(""); err != nil {
			return err
		}
	}
	_, err = s.server.Write(startup)
	return err
}

// parameter finds a value among those of a startup message.
func parameter(b []byte, name string) string {
	fields := bytes.Split(b, []byte{0})
	for i := 0; i+1 < len(fields); i += 2 {
		if string(fields[i]) == name {
			return string(fields[i+1])
		}
	}
	return ""
}

// readBody reads a length, which counts itself, and what it is the length of. All of it comes after head.
func readBody(r io.Reader, head []byte) ([]byte, error) {
	m := append(head, 0, 0, 0, 0)
	length := m[len(head):]
	if _, err := io.ReadFull(r, length); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(length)
	if n < 8 && head == nil || n < 4 || n > mostHeld {
		return nil, fmt.Errorf("message of %d bytes", n)
	}
	m = append(m, make([]byte, n-4)...)
	_, err := io.ReadFull(r, m[len(head)+4:])
	return m, err
}

// readMessage reads a type, a length and a body.
func readMessage(r *bufio.Reader) ([]byte, error) {
	kind, err := r.ReadByte()
	if err != nil {
		return nil, err
	}
	return readBody(r, []byte{kind})
}

func (s *session) postgresRequests(client *bufio.Reader) error {
	for {
		m, err := readMessage(client)
		if err != nil {
			return err
		}
		if m[0] == 'Q' {
			if err := s.before(string(bytes.TrimSuffix(m[5:], []byte{0}))); err != nil {
				return err
			}
		}
		if _, err := s.server.Write(m); err != nil {
			return err
		}
	}
}

// postgresAnswers holds an answer back until it is complete, but for what the client must see to go on.
func (s *session) postgresAnswers(server *bufio.Reader) error {
	for {
		m, err := readMessage(server)
		if err != nil {
			return errors.Join(err, s.release())
		}
		if err := s.hold(m); err != nil {
			return err
		}
		p := s.awaited()
		switch kind := m[0]; {
		case p == nil, kind == 'G', kind == 'W', kind == 'R' && asks(m[5:]):
			err = s.release()
		case kind == 'Z', kind == 'E' && p.SQL == "":
			err = s.complete()
		}
		if err != nil {
			return err
		}
	}
}

// asks reports whether a message of the login wants an answer: all do but AuthenticationOk and AuthenticationSASLFinal.
func asks(body []byte) bool {
	if len(body) < 4 {
		return false
	}
	kind := binary.BigEndian.Uint32(body)
	return kind != 0 && kind != 12
}
