/*
 * Changes the user 100 times on one connection, with the C client library.
 *
 *     changeuser LIBRARY PORT
 *
 * It loads the library when it runs, for it comes with the server and without
 * headers. Exit status 0 says that all went well.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *library;
static void *mysql;

static void *find(const char *name)
{
	void *function = dlsym(library, name);
	if (!function) {
		fprintf(stderr, "%s\n", dlerror());
		exit(1);
	}
	return function;
}

static void fail(const char *what)
{
	const char *(*error)(void *) = find("mysql_error");
	fprintf(stderr, "%s: %s\n", what, error(mysql));
	exit(1);
}

/* query checks that a query has one row of one column, which is want. */
static void query(const char *sql, const char *want)
{
	int (*run)(void *, const char *) = find("mysql_query");
	void *(*store)(void *) = find("mysql_store_result");
	char **(*fetch)(void *) = find("mysql_fetch_row");
	void (*release)(void *) = find("mysql_free_result");
	void *result;
	char **row;

	if (run(mysql, sql))
		fail(sql);
	if (!want)
		return;
	if (!(result = store(mysql)) || !(row = fetch(result)) || strcmp(row[0] ? row[0] : "NULL", want))
		fail(sql);
	release(result);
}

int main(int argc, char **argv)
{
	void *(*init)(void *);
	void *(*connect)(void *, const char *, const char *, const char *, const char *, unsigned, const char *, unsigned long);
	char (*change_user)(void *, const char *, const char *, const char *);
	const char *databases[] = {"app", "other", NULL};

	if (argc != 3 || !(library = dlopen(argv[1], RTLD_NOW))) {
		fprintf(stderr, "%s\n", argc == 3 ? dlerror() : "usage: changeuser LIBRARY PORT");
		return 1;
	}
	init = find("mysql_init");
	connect = find("mysql_real_connect");
	change_user = find("mysql_change_user");
	mysql = init(NULL);
	if (!connect(mysql, "127.0.0.1", "anybody", NULL, NULL, atoi(argv[2]), NULL, 0))
		fail("connect");
	for (int i = 0; i < 100; i++) {
		const char *database = databases[i % 3];
		query("SET @v = 1", NULL);
		/* Some have a password left in their configuration. */
		if (change_user(mysql, "somebody", i % 2 ? NULL : "any", database))
			fail("change user");
		query("SELECT @v", "NULL");
		query("SELECT DATABASE()", database ? database : "app");
	}
	return 0;
}
