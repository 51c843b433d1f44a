/*
 * A server plugin for MySQL and MariaDB that stands in for the one RDS has:
 * CREATE USER app IDENTIFIED WITH AWSAuthenticationPlugin AS 'RDS'. It has the
 * client send the token in the clear and asks the verifier of the running test
 * (../verifier.go). It keeps nothing, and refuses whatever it cannot verify.
 *
 * No package ships MySQL's server headers, and both servers load a plugin by
 * layout alone. So the few structures stand here, for both in one library; their
 * names are those of the manual's chapter on writing authentication plugins,
 * https://dev.mysql.com/doc/extending-mysql/8.0/en/writing-authentication-plugins.html
 */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CR_OK = -1, CR_ERROR = 0 };

struct vio {
	int (*read_packet)(struct vio *, unsigned char **);
};

/* verifier connects to where CREDPROXY_TEST_VERIFIER, 127.0.0.1/PORT, says. */
static int verifier(void)
{
	const char *where = getenv("CREDPROXY_TEST_VERIFIER");
	const char *digit = where ? strchr(where, '/') : NULL;
	if (!digit)
		return -1;
	unsigned port = 0;
	while (*++digit)
		port = port * 10 + (unsigned)(*digit - '0');
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int conn = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (conn >= 0 && connect(conn, (struct sockaddr *)&to, sizeof to)) {
		close(conn);
		return -1;
	}
	return conn;
}

static int send_line(int conn, const char *text, size_t length)
{
	return send(conn, text, length, MSG_NOSIGNAL) == (ssize_t)length && send(conn, "\n", 1, MSG_NOSIGNAL) == 1;
}

static int verify(const char *user, const unsigned char *token, int length)
{
	if (length < 1 || token[length - 1]) /* it ends with a NUL */
		return CR_ERROR;
	int conn = verifier();
	if (conn < 0)
		return CR_ERROR;
	char answer[3] = "";
	int ok = send_line(conn, user, strlen(user)) && send_line(conn, (const char *)token, length - 1) &&
		 recv(conn, answer, sizeof answer, MSG_WAITALL) == sizeof answer && !memcmp(answer, "ok\n", sizeof answer);
	close(conn);
	return ok ? CR_OK : CR_ERROR;
}

/* The two servers' infos differ only in the room for names. MariaDB fills them
 * when the packet is read. The client is told "using password: YES". */
#define AUTHENTICATE(SERVER, AUTHENTICATED_AS, EXTERNAL_USER)                          \
	struct SERVER##_info {                                                         \
		const char *user_name;                                                 \
		unsigned user_name_length;                                             \
		const char *auth_string;                                               \
		unsigned long auth_string_length;                                      \
		char authenticated_as[AUTHENTICATED_AS], external_user[EXTERNAL_USER]; \
		int password_used;                                                     \
	};                                                                             \
	static int SERVER##_authenticate(struct vio *vio, struct SERVER##_info *info)  \
	{                                                                              \
		unsigned char *token;                                                  \
		int length = vio->read_packet(vio, &token);                            \
		info->password_used = 1;                                               \
		return verify(info->user_name, token, length);                         \
	}

AUTHENTICATE(mysql, 97, 512)
AUTHENTICATE(mariadb, 513, 513)

static const char name[] = "AWSAuthenticationPlugin", author[] = "credproxy", about[] = "asks a test's token verifier";
enum { AUTHENTICATION_PLUGIN = 7, LICENSE_PROPRIETARY = 0, MATURITY_STABLE = 5, INTERFACE = 0x0201 };

#define EXPORT __attribute__((visibility("default")))

/* MySQL */

static int no_password(char *out, unsigned *out_length, const char *in, unsigned length) { return 1; }
static int any_string(char *in, unsigned length) { return 0; } /* AS 'RDS' */
static int no_salt(const char *password, unsigned length, unsigned char *salt, unsigned char *salt_length)
{
	*salt_length = 0;
	return 0;
}

static struct {
	int interface_version;
	const char *client_auth_plugin;
	int (*authenticate_user)(struct vio *, struct mysql_info *);
	int (*generate_authentication_string)(char *, unsigned *, const char *, unsigned);
	int (*validate_authentication_string)(char *, unsigned);
	int (*set_salt)(const char *, unsigned, unsigned char *, unsigned char *);
	unsigned long authentication_flags;
	void *compare_password_with_hash;
} mysql_auth = {INTERFACE, "mysql_clear_password", mysql_authenticate, no_password, any_string, no_salt, 0, NULL};

struct mysql_plugin {
	int type;
	void *info;
	const char *name, *author, *about;
	int license;
	int (*init)(void *), (*check_uninstall)(void *), (*deinit)(void *);
	unsigned version;
	void *status_vars, *system_vars, *reserved;
	unsigned long flags;
};

EXPORT int _mysql_plugin_interface_version_ = 0x010b;
EXPORT int _mysql_sizeof_struct_st_plugin_ = sizeof(struct mysql_plugin);
EXPORT struct mysql_plugin _mysql_plugin_declarations_[] = {
	{AUTHENTICATION_PLUGIN, &mysql_auth, name, author, about, LICENSE_PROPRIETARY, .version = 0x0100},
	{0},
};

/* MariaDB, which looks for these first */

static struct {
	int interface_version;
	const char *client_auth_plugin;
	int (*authenticate_user)(struct vio *, struct mariadb_info *);
	void *hash_password, *preprocess_hash;
} mariadb_auth = {INTERFACE, "mysql_clear_password", mariadb_authenticate, NULL, NULL};

struct mariadb_plugin {
	int type;
	void *info;
	const char *name, *author, *about;
	int license;
	int (*init)(void *), (*deinit)(void *);
	unsigned version;
	void *status_vars, *system_vars;
	const char *version_info;
	unsigned maturity;
};

EXPORT int _maria_plugin_interface_version_ = 0x010f;
EXPORT int _maria_sizeof_struct_st_plugin_ = sizeof(struct mariadb_plugin);
EXPORT struct mariadb_plugin _maria_plugin_declarations_[] = {
	{AUTHENTICATION_PLUGIN, &mariadb_auth, name, author, about, LICENSE_PROPRIETARY, .version = 0x0100, .version_info = "1.0", .maturity = MATURITY_STABLE},
	{0},
};
