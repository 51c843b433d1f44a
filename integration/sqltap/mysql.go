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

// Capabilities of a client, and flags of the server's status.
const (
	capCompress        = 1 << 5
	capSSL             = 1 << 11
	capDeprecateEOF    = 1 << 24
	capZstd            = 1 << 26
	capQueryAttributes = 1 << 27

	moreResults = 1 << 3
)

const comQuery = 3

// mysql passes the greeting on, has both sides turn to TLS, and passes the handshake response on.
func (t *Tap) mysql(s *session, client, server net.Conn) error {
	greeting, err := readPacket(server)
	if err != nil {
		return err
	}
	if _, err := client.Write(greeting); err != nil {
		return err
	}
	request, err := readPacket(client)
	if err != nil {
		return err
	}
	if len(request) != 4+32 || binary.LittleEndian.Uint32(request[4:])&capSSL == 0 {
		return errors.New("the client does not ask for TLS")
	}
	if _, err := server.Write(request); err != nil {
		return err
	}
	if err := s.secure(client, server); err != nil {
		return err
	}
	response, err := readPacket(s.client)
	if err != nil {
		return err
	}
	if len(response) < 4+33 {
		return errors.New("handshake response is too short")
	}
	s.caps = binary.LittleEndian.Uint32(response[4:])
	if s.caps&(capCompress|capZstd) != 0 {
		return errors.New("compression is not understood")
	}
	user, _, _ := bytes.Cut(response[4+32:], []byte{0})
	s.user = string(user)
	if err := s.before(""); err != nil {
		return err
	}
	s.answers = func() error { return s.mysqlAnswers(bufio.NewReader(s.server)) }
	s.requests = func() error { return s.mysqlRequests(bufio.NewReader(s.client)) }
	_, err = s.server.Write(response)
	return err
}

// readPacket reads a packet with its header.
func readPacket(r io.Reader) ([]byte, error) {
	header := make([]byte, 4)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	n := int(header[0]) | int(header[1])<<8 | int(header[2])<<16
	if n == 1<<24-1 {
		return nil, fmt.Errorf("packet of %d bytes", n)
	}
	packet := append(header, make([]byte, n)...)
	_, err := io.ReadFull(r, packet[4:])
	return packet, err
}

func (s *session) mysqlRequests(client *bufio.Reader) error {
	for {
		packet, err := readPacket(client)
		if err != nil {
			return err
		}
		if body := packet[4:]; packet[3] == 0 && len(body) > 0 && body[0] == comQuery {
			if err := s.before(s.statement(body[1:])); err != nil {
				return err
			}
		}
		if _, err := s.server.Write(packet); err != nil {
			return err
		}
	}
}

// statement is the text of a COM_QUERY, before which there may be the numbers of attributes: none, in one set.
func (s *session) statement(b []byte) string {
	if s.caps&capQueryAttributes != 0 {
		b = bytes.TrimPrefix(b, []byte{0, 1})
	}
	return string(b)
}

// mysqlAnswers holds an answer back until it is complete, but for what the client must see to go on.
func (s *session) mysqlAnswers(server *bufio.Reader) error {
	var r result
	for {
		packet, err := readPacket(server)
		if err != nil {
			return errors.Join(err, s.release())
		}
		if err := s.hold(packet); err != nil {
			return err
		}
		body := packet[4:]
		switch p := s.awaited(); {
		case p == nil || len(body) == 0:
			err = s.release()
		case p.SQL == "" && (body[0] == 0x00 || body[0] == 0xff):
			err = s.complete()
		case p.SQL == "":
			err = s.release() // the login goes on
		case r.takes(body, s.caps&capDeprecateEOF != 0):
			r = result{}
			err = s.complete()
		case r.part == head && body[0] == 0xfb: // the server wants a file of the client's
			err = s.release()
		}
		if err != nil {
			return err
		}
	}
}

// result is how far the answer to a COM_QUERY has come.
type result struct {
	part    part
	columns uint64 // definitions that are still to come
}

type part int

const (
	head part = iota
	definitions
	afterDefinitions // an EOF, unless the client does without
	rows
)

// takes reads the next packet and reports whether it is the last of the answer.
func (r *result) takes(body []byte, noEOF bool) (last bool) {
	switch {
	case body[0] == 0xff:
		return true
	case r.part == head && body[0] == 0x00:
		return okStatus(body)&moreResults == 0
	case r.part == head && body[0] == 0xfb:
	case r.part == head:
		r.columns, _ = lengthEncoded(body)
		r.part = definitions
	case r.part == definitions:
		if r.columns--; r.columns == 0 {
			r.part = afterDefinitions
			if noEOF {
				r.part = rows
			}
		}
	case r.part == afterDefinitions:
		r.part = rows
	case body[0] == 0xfe && noEOF, body[0] == 0xfe && len(body) < 9:
		r.part = head
		if noEOF {
			return okStatus(body)&moreResults == 0
		}
		return len(body) < 5 || binary.LittleEndian.Uint16(body[3:])&moreResults == 0
	}
	return false
}

// okStatus is the status in an OK packet: after the header and two numbers.
func okStatus(body []byte) uint16 {
	rest := body[1:]
	for range 2 {
		_, n := lengthEncoded(rest)
		rest = rest[min(n, len(rest)):]
	}
	if len(rest) < 2 {
		return 0
	}
	return binary.LittleEndian.Uint16(rest)
}

// lengthEncoded reads a number and how many bytes it takes.
func lengthEncoded(b []byte) (value uint64, n int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch b[0] {
	case 0xfc:
		n = 3
	case 0xfd:
		n = 4
	case 0xfe:
		n = 9
	default:
		return uint64(b[0]), 1
	}
	if len(b) < n {
		return 0, len(b)
	}
	for i := n - 1; i > 0; i-- {
		value = value<<8 | uint64(b[i])
	}
	return value, n
}
