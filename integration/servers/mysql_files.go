package servers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func (my *MySQL) confFile() string { return filepath.Join(my.SocketDir, "my.cnf") }

// writeFolder fills my.SocketDir: the data folder, the certificates, and my.cnf.
// It sets my.CA, my.CAFile, my.Certificate and my.require.
func (my *MySQL) writeFolder(ctx context.Context, as *syscall.Credential, o MySQLOptions) error {
	template, err := installed(o.Flavor + "-template")
	if err != nil {
		return err
	}
	if err := copyTemplate(ctx, as, template, my.data()); err != nil {
		return err
	}
	root, err := installed(o.Flavor, "usr")
	if err != nil {
		return err
	}
	settings := my.settings(o, root)
	if !o.NoTLS {
		c, err := writeCertificates(my.SocketDir, my.Host, as, o.Certificate, o.CA, o.ClientCA)
		if err != nil {
			return fmt.Errorf("write certificates: %w", err)
		}
		my.CA, my.CAFile, my.Certificate = c.ca, c.caFile, c.cert
		maps.Copy(settings, my.tlsSettings(c))
	}
	maps.Copy(settings, o.Settings)
	return os.WriteFile(my.confFile(), []byte(conf(settings)), 0o644)
}

func (my *MySQL) generalLog() string { return filepath.Join(my.SocketDir, "general.log") }

func (my *MySQL) data() string { return filepath.Join(my.SocketDir, "data") }

// settings are those without TLS. The server need not survive a power cut.
func (my *MySQL) settings(o MySQLOptions, root string) map[string]string {
	settings := map[string]string{
		"basedir":         root,
		"lc_messages_dir": root + "/share/mysql",
		"plugin_dir":      root + "/lib/mysql/plugin",
		"plugin_load":     strings.Join(plugins(o), ";"),
		"datadir":         my.data(),
		"tmpdir":          my.SocketDir,
		"pid_file":        my.SocketDir + "/pid",
		"socket":          my.Socket,
		"bind_address":    my.Host,
		"port":            strconv.Itoa(my.Port),
		"server_id":       "1",

		"skip_name_resolve":              "ON",
		"performance_schema":             "OFF",
		"innodb_buffer_pool_size":        "16M",
		"innodb_flush_method":            "nosync",
		"innodb_flush_log_at_trx_commit": "0",
		"innodb_fast_shutdown":           "2",
	}
	if o.LogStatements {
		settings["general_log"], settings["general_log_file"], settings["log_output"] = "ON", my.generalLog(), "FILE"
	}
	withBinlog := o.Binlog || o.ReplicaOf != nil
	if withBinlog {
		maps.Copy(settings, my.binlog())
	}
	if o.Flavor == "mariadb" {
		settings["innodb_log_file_size"] = "8M"
		settings["ssl"] = "OFF"
		if o.IAM != nil {
			settings["pam_use_cleartext_plugin"] = "ON"
		}
		return settings
	}
	settings["innodb_redo_log_capacity"] = "32M"
	settings["log_error_verbosity"] = "3" // 2 does not tell of refused logins
	settings["mysqlx"] = "OFF"
	settings["secure_file_priv"] = ""
	settings["auto_generate_certs"], settings["tls_version"] = "OFF", ""
	if !withBinlog {
		settings["disable_log_bin"] = "ON"
	}
	return settings
}

// plugins are those that are not built in. Of MariaDB's two for PAM only the
// older one, which runs within the server, lets the module see the server's
// environment, where the verifier's address is.
func plugins(o MySQLOptions) (libraries []string) {
	if o.IAM != nil {
		libraries = append(libraries, "AWSAuthenticationPlugin.so")
	}
	if o.Flavor == "mariadb" {
		libraries = append(libraries, "auth_ed25519.so")
		if o.IAM != nil {
			libraries = append(libraries, "auth_pam_v1.so")
		}
	}
	return libraries
}

// tlsSettings have the server insist on TLS, and on the client's certificate if
// there is an authority for those.
func (my *MySQL) tlsSettings(c certificates) map[string]string {
	settings := map[string]string{"require_secure_transport": "ON", "ssl_cert": c.certFile, "ssl_key": c.keyFile, "tls_version": "TLSv1.2,TLSv1.3"}
	if my.Flavor == "mariadb" {
		settings["ssl"] = "ON"
	}
	if c.clientCAFile != "" {
		settings["ssl_ca"] = c.clientCAFile
		my.require = " REQUIRE X509"
	}
	return settings
}

// conf is my.cnf.
func conf(settings map[string]string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	var b strings.Builder
	b.WriteString("[mysqld]\n")
	for name, value := range settings {
		fmt.Fprintf(&b, "%s = \"%s\"\n", name, quote.Replace(value))
	}
	return b.String()
}
