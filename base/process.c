#include "process.h"

#include "guard.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

int process_run(const char *const *argv, char *line, size_t room) {
    int fd[2];
    line[0] = 0;
    if (pipe(fd)) return PROCESS_NOT_STARTED;
    pid_t pid;
    posix_spawn_file_actions_t fa;
    int e = posix_spawn_file_actions_init(&fa);
    if (!e) {
        e = posix_spawn_file_actions_adddup2(&fa, fd[1], 2);
        if (!e) e = posix_spawn_file_actions_addclose(&fa, fd[0]);
        if (!e) e = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)argv, environ);
        posix_spawn_file_actions_destroy(&fa);
    }
    close(fd[1]);
    if (e) {
        close(fd[0]);
        end_if_no_memory(e);
        errno = e;
        return PROCESS_NOT_STARTED;
    }
    size_t n = 0;
    ssize_t got;
    while (n + 1 < room && (got = read(fd[0], line + n, room - 1 - n)) > 0) n += (size_t)got;
    char drop[512];
    while (read(fd[0], drop, sizeof drop) > 0) continue; // so that it never waits for a reader
    close(fd[0]);
    line[n] = 0;
    line[strcspn(line, "\n")] = 0;
    int st;
    while (waitpid(pid, &st, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(st)) return WEXITSTATUS(st);
    snprintf(line, room, "%s was stopped by signal %d; most likely it was out of memory", argv[0], WTERMSIG(st));
    return PROCESS_STOPPED;
}
