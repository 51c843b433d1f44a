package peer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The messages of sock_diag(7), as linux/netlink.h and linux/inet_diag.h lay them
// out. Numbers are in the machine's byte order, ports and addresses in that of the
// network.
const ( // in bytes
	nlHeader    = 16   // nlmsghdr
	diagRequest = 56   // inet_diag_req_v2
	diagSocket  = 72   // inet_diag_msg
	maxAnswer   = 1024 // more than one socket with its attributes
)

// The states of a TCP socket (net/tcp_states.h).
const (
	tcpEstablished = 1
	tcpFinWait1    = 4
	tcpFinWait2    = 5
	tcpClose       = 7
	tcpCloseWait   = 8
)

// socket is what the kernel tells of a TCP socket.
type socket struct {
	state         uint8
	local, remote netip.AddrPort
	uid, inode    uint32
}

// open reports whether a process has the socket open, so that uid is that of who
// made it. What nobody has open any more shows user 0, whoever made it: a socket
// in TIME_WAIT, which in part goes by the name of FIN_WAIT2, and one that was
// closed and still sends. Those have no inode. One that is still connecting is not
// connected to us.
func (s socket) open() bool {
	switch s.state {
	case tcpEstablished, tcpFinWait1, tcpFinWait2, tcpCloseWait:
		return s.inode != 0
	}
	return false
}

// askFor encodes the request for the one TCP socket with these addresses.
func askFor(seq uint32, local, remote netip.AddrPort) []byte {
	b := make([]byte, nlHeader+diagRequest)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.SOCK_DIAG_BY_FAMILY)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], seq)
	r := b[nlHeader:]
	r[0], r[1] = unix.AF_INET6, unix.IPPROTO_TCP
	if local.Addr().Is4() { // finds mapped addresses on sockets of IPv6 too
		r[0] = unix.AF_INET
	}
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0)) // any state
	binary.BigEndian.PutUint16(r[8:], local.Port())
	binary.BigEndian.PutUint16(r[10:], remote.Port())
	copy(r[12:28], local.Addr().AsSlice())
	copy(r[28:44], remote.Addr().AsSlice())
	binary.NativeEndian.PutUint64(r[48:], ^uint64(0)) // any cookie
	return b
}

// errOtherAnswer is the answer to another request.
var errOtherAnswer = errors.New("not the answer to this request")

// parseAnswer decodes the kernel's answer to the request seq. The error is a
// unix.Errno if the kernel sent one: ENOENT if there is no such socket.
func parseAnswer(b []byte, seq uint32) (socket, error) {
	if len(b) < nlHeader {
		return socket{}, fmt.Errorf("a netlink message of %d bytes", len(b))
	}
	if n := binary.NativeEndian.Uint32(b); n < nlHeader || uint64(n) > uint64(len(b)) {
		return socket{}, fmt.Errorf("a netlink message of %d bytes that says %d", len(b), n)
	}
	if binary.NativeEndian.Uint32(b[8:]) != seq {
		return socket{}, errOtherAnswer
	}
	body := b[nlHeader:binary.NativeEndian.Uint32(b)]
	switch kind := binary.NativeEndian.Uint16(b[4:]); {
	case kind == unix.NLMSG_ERROR && len(body) >= 4:
		return socket{}, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
	case kind == unix.SOCK_DIAG_BY_FAMILY && len(body) >= diagSocket:
		return parseSocket(body)
	default:
		return socket{}, fmt.Errorf("a netlink message of type %d with %d bytes", kind, len(body))
	}
}

func parseSocket(b []byte) (socket, error) {
	var size int
	switch b[0] {
	case unix.AF_INET:
		size = 4
	case unix.AF_INET6:
		size = 16
	default:
		return socket{}, fmt.Errorf("a socket of the address family %d", b[0])
	}
	local, _ := netip.AddrFromSlice(b[8 : 8+size]) // never fails: 4 or 16 bytes
	remote, _ := netip.AddrFromSlice(b[24 : 24+size])
	return socket{
		state:  b[1],
		local:  netip.AddrPortFrom(local.Unmap(), binary.BigEndian.Uint16(b[4:])),
		remote: netip.AddrPortFrom(remote.Unmap(), binary.BigEndian.Uint16(b[6:])),
		uid:    binary.NativeEndian.Uint32(b[64:]),
		inode:  binary.NativeEndian.Uint32(b[68:]),
	}, nil
}
