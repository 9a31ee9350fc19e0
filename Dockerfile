FROM node:26-trixie-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# Without install scripts: the image has its own Node.js, and no dependency needs a script.
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
# Type declarations and source maps are a quarter of the remaining files. The process reads neither.
RUN npm run build && npm prune --ignore-scripts --omit=dev && \
    find node_modules \( -name '*.d.ts' -o -name '*.d.[cm]ts' -o -name '*.map' \) -delete

FROM gcr.io/distroless/nodejs26-debian13:nonroot
ARG VERSION=1.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Storage API" \
      org.opencontainers.image.description="An HTTP service that keeps binary objects under ids" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.revision=$REVISION
# One arena of glibc is enough, because one thread allocates. More arenas take 3 MB at the start.
# The fixed threshold returns freed blocks of 128 KiB and more to the system. By default glibc
# raises the threshold when such blocks are freed.
ENV NODE_ENV=production HOST=:: REVISION=$REVISION MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=131072
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
# A number, so that Kubernetes can verify that the user is not root.
USER 65532:65532
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s --start-interval=1s --retries=3 \
  CMD ["/nodejs/bin/node", "-e", "http.get({ host: '127.0.0.1', port: process.env.PORT || 5000, path: '/readyz' }, ({ statusCode }) => process.exit(statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
# A quarter of the memory is left for what is outside V8's heap. server.ts needs --expose-gc,
# because it collects garbage once after the start.
CMD ["--max-old-space-size-percentage=75", "--expose-gc", "dist/server.js"]
