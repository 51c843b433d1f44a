package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"github.com/credproxy/credproxy/integration/pki"
)

// makeFolder makes a server's folder. It is in /tmp whatever TMPDIR says: the
// path of a unix socket must stay under 108 bytes, and an unprivileged server
// must be able to reach it.
func makeFolder(prefix string, as *syscall.Credential) (string, error) {
	dir, err := os.MkdirTemp("/tmp", prefix)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	if err := giveTo(as, dir); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return dir, nil
}

// giveTo makes the server's user the owner of what we wrote as root.
func giveTo(as *syscall.Credential, paths ...string) error {
	if as == nil {
		return nil
	}
	for _, path := range paths {
		if err := os.Chown(path, int(as.Uid), int(as.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// copyTemplate makes a data folder that belongs to the server's user alone, as
// the servers insist.
func copyTemplate(ctx context.Context, as *syscall.Credential, template, data string) error {
	cp := exec.CommandContext(ctx, "cp", "--recursive", "--reflink=auto", template, data)
	cp.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := cp.CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", template, err, out)
	}
	return os.Chmod(data, 0o700)
}

// certificates are what a server has in its folder for TLS. Without an authority
// (ca is nil) clients cannot verify the server, and without clientCAFile it
// does not verify them.
type certificates struct {
	cert                                    *pki.Certificate
	ca                                      *pki.CA
	caFile, certFile, keyFile, clientCAFile string
}

// writeCertificates makes what the options leave out: a certificate for
// localhost and host, from an authority of its own.
func writeCertificates(dir, host string, as *syscall.Credential, cert *pki.Certificate, ca, clientCA *pki.CA) (certificates, error) {
	var err error
	if cert == nil && ca == nil {
		if ca, err = pki.NewCA("credproxy test authority"); err != nil {
			return certificates{}, err
		}
	}
	if cert == nil {
		leaf := pki.Localhost()
		leaf.IPs = append(leaf.IPs, net.ParseIP(host))
		if cert, err = ca.Issue(leaf); err != nil {
			return certificates{}, err
		}
	}
	c := certificates{cert: cert, ca: ca}
	if c.certFile, c.keyFile, err = cert.Write(dir, "server"); err != nil {
		return certificates{}, err
	}
	if err := giveTo(as, c.keyFile); err != nil {
		return certificates{}, err
	}
	if ca != nil {
		if c.caFile, err = ca.Write(dir, "ca"); err != nil {
			return certificates{}, err
		}
	}
	if clientCA != nil {
		if c.clientCAFile, err = clientCA.Write(dir, "client-ca"); err != nil {
			return certificates{}, err
		}
	}
	return c, nil
}
